"""Bundles: many small files of syslog lines, parsed and accounted for as one table, since each table costs some milliseconds.

Every file gets the same events, ledger and clock as if it had been read alone. A file that asks for more than a glance (records,
an encoding, carriage returns) is left to `intake`.
"""

from __future__ import annotations

import functools
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import polars as pl

from maillog_forensics import envelopes, intake, journal, logfiles, normalize, records, sources, watches
from maillog_forensics.accounts import Account, Shape, shapes_of
from maillog_forensics.ahead import ahead
from maillog_forensics.ledger import Ledger
from maillog_forensics.plan import Plan
from maillog_forensics.schema import LINE_STATES

LARGEST_BYTES = 512 << 10
"""A larger file gains nothing by company."""
LARGEST_PACKED_BYTES = 64 << 10
PROBED_LINES = 50
"""Lines of a file's beginning at which `records.recognise` looks for cells."""


@dataclass(frozen=True)
class File:
    """One file, its bytes read; `number` is its place among the inputs."""

    number: int
    path: str
    about: sources.Input
    text: bytes = field(repr=False)

    @property
    def is_plain(self) -> bool:
        """Whether it may be read in company: clean UTF-8 with bare newlines."""
        if self.about.encoding != "utf-8" or b"\r" in self.text or b"\xef\xbb\xbf" in self.text:
            return False
        try:
            return self.text.isascii() or bool(self.text.decode())
        except UnicodeDecodeError:
            return False


@dataclass(frozen=True)
class Read:
    """What a bundle says.

    Attributes
    ----------
    tables
        Raw events with `_input` (the file's number) and `_turn`.
    accounts
        Of each file by its number; None where it has to be read alone.
    strange
        Lines that nothing knows: `_input`, line, offset, text.
    """

    tables: list[pl.DataFrame]
    accounts: dict[int, tuple[sources.Input, Account] | None]
    strange: pl.DataFrame


class Company:
    """The small files among some inputs; a bundle is read when one of its files is asked for.

    Parameters
    ----------
    files
        Number and path, in the order in which they will be asked for.
    into
        Receives the raw events, with the file's number in `_input`.
    """

    def __init__(self, files: Iterable[tuple[int, str]], plan: Plan, options: intake.Options, into: Callable[..., None]) -> None:
        small = [(number, path) for number, path in files if is_small(path)]
        self._waiting = {number for number, _ in small} if len(small) > 1 else set[int]()
        self._done: dict[int, tuple[sources.Input, Account] | None] = {}
        self._options, self._into = options, into
        self._bundles = ahead(_work((read(*one) for one in small), plan, options))

    def take(self, number: int) -> tuple[sources.Input, Account] | None:
        """The account of a file, once; None for one that has to be read alone."""
        if number not in self._waiting:
            return None
        while number not in self._done:
            self._add(next(self._bundles))
        return self._done.pop(number)

    def _add(self, bundle: Read) -> None:
        self._into(*bundle.tables)
        self._done |= bundle.accounts
        if tell := self._options.on_unrecognised:
            for (number,), lines in bundle.strange.partition_by("_input", as_dict=True, include_key=False).items():
                if one := bundle.accounts[int(number)]:
                    tell(one[0].path, lines)


def _work(files: Iterator[File], plan: Plan, options: intake.Options) -> Iterator[Callable[[], Read]]:
    order: tuple[str, ...] | None = None
    for bundle in bundled(files, options.chunk_bytes):
        if order is None and (first := next((file for file in bundle if file.text and file.is_plain), None)):
            order = intake.rank_envelopes(sources.lines_of(first.text, 1, 0).head(intake.HEAD_LINES), plan)
        yield functools.partial(parse, bundle, plan, order or (), options.format)


def is_small(path: str) -> bool:
    """Whether a file is worth reading in company."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    most = LARGEST_PACKED_BYTES if path.endswith((".gz", ".bz2", ".xz", ".zst", ".Z")) else LARGEST_BYTES
    return path != "-" and stat.S_ISREG(status.st_mode) and status.st_size <= most


def read(number: int, path: str) -> File:
    """Read one file; one that unpacks to more than `LARGEST_BYTES` has no encoding."""
    about = sources.Input(logfiles.label(path), encoding="")
    parts, held = [], 0
    for part in sources.whole(path, about):
        parts.append(part)
        held += len(part)
        if held > LARGEST_BYTES:
            return File(number, path, about, b"")
    text = b"".join(parts)
    about.encoding = sources.encoding(text)
    about.lines = _count_lines(text)
    return File(number, path, about, text)


def _count_lines(text: bytes) -> int:
    return text.count(b"\n") + (text != b"" and not text.endswith(b"\n"))


def bundled(files: Iterator[File], chunk_bytes: int) -> Iterator[list[File]]:
    """The files in bundles of about `chunk_bytes`."""
    bundle: list[File] = []
    held = lines = 0
    for file in files:
        bundle.append(file)
        held, lines = held + len(file.text), lines + file.about.lines
        if held >= chunk_bytes or lines >= sources.MAX_CHUNK_LINES:
            yield bundle
            bundle, held, lines = [], 0, 0
    if bundle:
        yield bundle


def parse(bundle: list[File], plan: Plan, order: tuple[str, ...], wanted: str | None) -> Read:
    """Parse the files of one bundle.

    Parameters
    ----------
    order
        Envelopes to try where the first of them fits a file's beginning; else the file tells.
    wanted
        Format of records that the user named.
    """
    plain = [file for file in bundle if file.is_plain]
    table = _table(plain)
    orders = _orders(table, plain, plan, order, wanted)
    found: list[pl.DataFrame] = []
    counts = {i: Counter[str]() for i, file in enumerate(plain) if i in orders or not file.text}
    odd = [_own(table.clear())]
    for chosen in sorted(set(orders.values())):
        mine = table.filter(_file().is_in([i for i, o in orders.items() if o == chosen]))
        parsed = normalize.parse(mine, plan, chosen)
        found += [intake.placed(t, mine) for t in parsed.tables if t.height]
        _count(parsed.ledger, counts)
        unknown = parsed.ledger.lines("unrecognised").to_frame()
        odd.append(_own(mine.join(unknown, on="line", how="semi", maintain_order="left")))
    strange = pl.concat(odd)
    hosts = {i: host for i, file in enumerate(plain) if (host := intake.host_of(file.path))}
    watched, tables = watches.watch_each([_own(_with_host(t, hosts)) for t in found])
    accounts = _accounts(counts, tables, watched, strange)
    numbers = pl.Series([file.number for file in plain], dtype=pl.UInt32)
    tables, strange = [_numbered(t, numbers) for t in tables], _numbered(strange, numbers)
    done: dict[int, tuple[sources.Input, Account] | None] = {file.number: None for file in bundle}
    done |= {plain[i].number: (plain[i].about, account) for i, account in accounts.items()}
    return Read(tables, done, strange)


def _numbered(table: pl.DataFrame, numbers: pl.Series) -> pl.DataFrame:
    return table.with_columns(_input=numbers.gather(table["_input"]))


def _table(files: list[File]) -> pl.DataFrame:
    """line, offset, text of all files, one after the other; the upper bits of `line` are the file's place (see `sources.FILE_BITS`)."""
    joined = b"".join(file.text if file.text.endswith(b"\n") or not file.text else file.text + b"\n" for file in files)
    if not joined:
        return pl.DataFrame(schema={"line": pl.UInt64, "offset": pl.UInt64, "text": pl.String})
    table = sources.lines_of(joined, 0, 0)
    filled = [
        (i, file.about.lines, len(file.text) + (not file.text.endswith(b"\n"))) for i, file in enumerate(files) if file.text
    ]
    began = pl.DataFrame(filled, ["i", "n", "bytes"], orient="row")
    began = began.select(
        pl.col("i").cast(pl.UInt64).repeat_by("n").explode(),
        line=(pl.col("n").cum_sum() - pl.col("n")).cast(pl.UInt64).repeat_by("n").explode(),
        offset=(pl.col("bytes").cum_sum() - pl.col("bytes")).cast(pl.UInt64).repeat_by("n").explode(),
    )
    return table.with_columns(
        line=table["line"] - began["line"] + 1 + began["i"] * (1 << sources.FILE_BITS), offset=table["offset"] - began["offset"]
    )


def _file() -> pl.Expr:
    """Which file a line is of."""
    return (pl.col("line") // (1 << sources.FILE_BITS)).cast(pl.UInt32)


def _own(table: pl.DataFrame) -> pl.DataFrame:
    """A table with the file's place in `_input` and its own line numbers."""
    return table.with_columns(_input=_file(), line=pl.col("line") % (1 << sources.FILE_BITS))


def _orders(
    table: pl.DataFrame, files: list[File], plan: Plan, order: tuple[str, ...], wanted: str | None
) -> dict[int, tuple[str, ...]]:
    """The envelopes to try for each file, best first; those that hold records are missing."""
    line = pl.col("line") % (1 << sources.FILE_BITS)
    heads = table.filter(line <= intake.HEAD_LINES).with_columns(file=_file())
    _, closed = envelopes.open_envelopes(heads, plan, order[:1])
    others = set(closed["file"].to_list())
    probed = heads.filter(line <= PROBED_LINES)
    odd = others | set(heads["file"].filter(records.may_be_head(heads["text"], plan)).to_list())
    odd |= set(probed["file"].filter(records.may_be_cells(probed["text"], plan)).to_list())
    orders = dict.fromkeys(heads["file"].unique().sort().to_list(), order)
    for (i,), head in heads.filter(pl.col("file").is_in(sorted(odd))).partition_by("file", as_dict=True).items():
        if journal.is_export(head) or records.recognise(head, plan, files[int(i)].path, wanted):
            del orders[int(i)]
        elif i in others:
            orders[int(i)] = envelopes.ranked(head, plan)
    return orders


def _with_host(table: pl.DataFrame, named: dict[int, str]) -> pl.DataFrame:
    if not named:
        return table
    host = _file().replace_strict(named, default=None, return_dtype=pl.String)
    return table.with_columns(host=pl.coalesce("host", host) if "host" in table.columns else host)


def _count(ledger: Ledger, counts: dict[int, Counter[str]]) -> None:
    for state in LINE_STATES:
        for i, n in ledger.lines(state).to_frame("line").group_by(_file()).len().iter_rows():
            counts[i][state] += n


def _accounts(
    counts: dict[int, Counter[str]], tables: list[pl.DataFrame], watched: dict[int, watches.Watch], strange: pl.DataFrame
) -> dict[int, Account]:
    """The account of each file that has `counts`."""
    events: Counter[int] = Counter()
    mtas: dict[int, set[str]] = {}
    for table in tables:
        for i, n, names in table.group_by("_input").agg(pl.len(), pl.col("mta").unique().drop_nulls()).iter_rows():
            events[i] += n
            mtas.setdefault(i, set()).update(names)
    shapes: dict[int, list[Shape]] = {}
    for (i,), lines in strange.partition_by("_input", as_dict=True).items():
        shapes[int(i)] = [Shape(**row) for row in shapes_of(lines).to_dicts()]
    return {
        i: Account.of(n, shapes.get(i, []), mtas.get(i, set()), events[i], watched.get(i, watches.Watch()))
        for i, n in counts.items()
    }
