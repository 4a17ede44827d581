"""Hostile lines by the hundred thousand, for the reader, the grammars and what follows them: `python -m tests.fuzz_reading --runs N`.

Not part of the test run. With atheris (PyPI) the choice of inputs is guided by the coverage of the Python code; without it,
inputs are drawn at random. One input is a file of many lines, since a rule costs much the same for one line as for two thousand:
samples of the grammar files inside the envelopes, spliced, cut, repeated, and mixed with what the fuzzer thinks up.

What is found is written to the folder --out, one file for each kind of fault; small ones become tests in test_hostile.py.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import importlib.util
import lzma
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

if __name__ == "__main__" and importlib.util.find_spec("atheris"):
    import atheris

    with atheris.instrument_imports(include=["maillog_forensics"]):
        import maillog_forensics.api  # noqa: F401

from maillog_forensics import detectors, grammar, intake, linking, reading

ROOT = Path(__file__).parents[1]
LINES = 1500
_STAMPS = (
    "Mar  2 08:13:22 mx postfix/{}[1]: ", "2026-03-02T08:13:22.003Z mx postfix/{}[1]: ", "Feb 30 25:61:61 mx postfix/{}[1]: ",
    "<22>1 2026-03-02T08:13:22.003Z mx postfix/{} 9 - - ", "2026-03-02 08:13:23 ", "2026-03-02 08:13:23.999 +0200 [12] ",
    "Mar  2 08:13:22 mx exim[9]: ", "Dec 31 23:59:60 mx sendmail[1]: ", "9999-12-31T23:59:59-23:59 mx dovecot: ", "",
)  # fmt: skip
_TOKENS = (
    b"\0", b"\r", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"<>", b"<", b">", b'"', b'\\"', b"=", b": ", b"[", b"]", b"(", b")",
    b"{", b"}", b",", b";", b"\t", b"|", b"%", b"99999999999999999999", b"-1", b"1e999", b"0x", b"\xe2\x80\xae", b"\x1b[31m",
    b"#Fields: date-time,client-ip,", b"postfix/smtpd[1]: ", b"status=sent (", b"queued as ", b"[1/2] ", b"message repeated 3 times: [ ",
    b"T=\"", b" H=", b"\x85", b"\xe2\x80\xa8", b'{"MESSAGE":', b"\\ud800", b"SRS0=", b"prvs=", b"=?utf-8?", b"a" * 3000,
)  # fmt: skip


def seeds() -> list[bytes]:
    """Lines to begin with: every sample of the grammar files, and some lines of each sample log."""
    read = grammar.read(grammar.find())
    out = [s.text for e in read.envelopes for s in e.samples] + [s.text for f in read.formats for s in f.samples]
    for form in read.formats:
        for rule in form.rules:
            program = rule.programs[0] if rule.programs else "smtpd"
            out += [stamp.format(program) + s.text for s in rule.samples for stamp in _STAMPS[:6]]
    for path in sorted((ROOT / "sample_logs").rglob("*")):
        if path.is_file() and path.suffix != ".md":
            out += path.read_bytes().decode("utf-8", "replace").splitlines()[:150]
    return [line.encode() for line in out]


def compose(data: bytes, lines: list[bytes]) -> tuple[bytes, int]:
    """A file out of what the fuzzer gave, and the bytes to read at a time."""
    rng = random.Random(data[:8])
    own = data[8:].split(b"\n")
    out = []
    for _ in range(rng.choice((3, LINES // 4, LINES))):
        line = bytearray(rng.choice(own) if own and rng.random() < 0.1 else rng.choice(lines))
        for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
            at, to = sorted((rng.randrange(len(line) + 1), rng.randrange(len(line) + 1)))
            match rng.randrange(7):
                case 0:
                    line[at:at] = rng.choice(_TOKENS)
                case 1:
                    del line[at:to]
                case 2:
                    line[at:at] = line[at:to] * rng.choice((1, 2, 20))
                case 3:
                    line[at:] = rng.choice(lines)[at:]
                case 4:
                    line[at:to] = rng.choice(_TOKENS)
                case 5:
                    line[at : at + 1] = bytes([rng.randrange(256)])
                case _:
                    line[at:at] = rng.choice(own)[:200] if own else b""
        out.append(bytes(line))
    text = rng.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r")).join(out)
    match rng.randrange(12):
        case 0:
            text = text.decode("utf-8", "replace").encode(rng.choice(("utf-16-le", "utf-16-be", "utf-16")))[
                : -rng.randrange(1, 3)
            ]
        case 1:
            text = gzip.compress(text, 1) + rng.choice((b"", b"\0" * 10, b"garbage", gzip.compress(b"x\n")))
        case 2:
            text = rng.choice((bz2.compress, lzma.compress, gzip.compress))(text)
            text = text[: rng.randrange(len(text))]
        case _:
            pass
    return text, rng.choice((1 << 25, 1 << 25, 1 << 16))


def check(file: bytes, path: Path, plan: intake.Plan, chunk_bytes: int = 1 << 25, *, further: bool = False) -> int:
    """Read `file` and assert what must hold of any input; the answer is the number of lines.

    Raises
    ------
    AssertionError
        When the ledger does not add up, or an event has no place or no time.
    """
    path.write_bytes(file)
    events, report = intake.take_in(str(path), plan, intake.Options(chunk_bytes=chunk_bytes)).whole()
    told = (report.parsed, report.ignored, report.unrecognised, report.damaged)
    assert min(told) >= 0 and sum(told) == report.about.lines, f"the ledger {told} does not add up to {report.about.lines} lines"
    assert events["time"].null_count() == 0, "an event without a time"
    assert report.about.bytes == len(file)
    if events.height:
        assert events["line"].is_between(1, report.about.lines).all()
        assert (events["offset"] < report.about.decompressed_bytes).all()
    if further:
        detectors.find(linking.correlated(events))
    return report.about.lines


def main() -> None:
    """Run until --runs inputs or --seconds are over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="inputs to read, of up to 1,500 lines each")
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"), help="folder for what is found")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    lines, plan = seeds(), reading.load()
    found: dict[str, int] = {}
    done = {"inputs": 0, "lines": 0}
    end = time.monotonic() + wanted.seconds

    def finish() -> None:
        print(f"{done['inputs']} inputs, {done['lines']} lines, {len(found)} kinds of faults: {found}", flush=True)

    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "mail.log"

        def one(data: bytes) -> None:
            file, chunk = compose(data, lines)
            began = time.monotonic()
            try:
                done["lines"] += check(file, path, plan, chunk, further=done["inputs"] % 4 == 0)
                fault = "slow" if time.monotonic() - began > 60 else ""
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # a panic of polars is no Exception
                where = traceback.extract_tb(error.__traceback__)[-1]
                ours = [f for f in traceback.extract_tb(error.__traceback__) if "maillog_forensics" in f.filename]
                fault = f"{type(error).__name__} {Path((ours or [where])[-1].filename).name}:{(ours or [where])[-1].lineno} {str(error)[:80]!r}"
            if fault and fault not in found:
                (wanted.out / f"fault-{len(found)}.bin").write_bytes(file)
                print(f"fault-{len(found)}.bin: {fault}", flush=True)
            if fault:
                found[fault] = found.get(fault, 0) + 1
            done["inputs"] += 1
            if done["inputs"] % 100 == 0:
                finish()

        if not importlib.util.find_spec("atheris"):
            print("atheris is not installed: inputs are drawn at random", file=sys.stderr)
            rng = random.Random(wanted.seed)
            while done["inputs"] < wanted.runs and time.monotonic() < end:
                one(rng.randbytes(rng.randrange(8, 400)))
            finish()
            return
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, line in enumerate(lines[::7]):
            (corpus / str(number)).write_bytes(number.to_bytes(8, "little") + line[:1000])
        flags = [f"-runs={wanted.runs}", f"-max_total_time={int(wanted.seconds)}", f"-seed={wanted.seed}", "-max_len=2000",
                 "-timeout=300", "-rss_limit_mb=4000", "-verbosity=0"]  # fmt: skip
        atheris.Setup([sys.argv[0], *flags, str(corpus)], atheris.instrument_func(one))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
