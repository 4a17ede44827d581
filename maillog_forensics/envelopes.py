"""How records begin: taking time, host and tag off a line, whatever wrapped it."""

from __future__ import annotations

import polars as pl

from maillog_forensics.grammar import Envelope
from maillog_forensics.matching import match
from maillog_forensics.patterns import BUILT_IN
from maillog_forensics.plan import Plan
from maillog_forensics.sources import FILE_BITS

OPENED = {
    "line": pl.UInt64, "offset": pl.UInt64, "stamp": pl.String, "stamp_kind": pl.String, "host": pl.String, "tag": pl.String,
    "pid": pl.String, "zone": pl.String, "message": pl.String, "format": pl.String,
}  # fmt: skip
"""A line whose envelope was taken off. `stamp_kind` is the type of hole that read the stamp; `format` is NULL where the tag decides."""

_NESTED = (
    rf"^(?:<[0-9]+>)?(?:{BUILT_IN['bsd']}|{BUILT_IN['iso']}|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}} [0-9:.]+) |^(?:stdout|stderr) [FP] "
)
_BARE = r"^(?P<tag>[^\s\[\]:]+/[^\s\[\]:]+)\[(?P<pid>[0-9]+)\]: (?P<message>.*)$"
_DEEPEST = 3
_FILE = pl.col("line") // (1 << FILE_BITS)


def open_envelopes(lines: pl.DataFrame, plan: Plan, order: tuple[str, ...] | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Take the envelope off every line.

    Parameters
    ----------
    lines
        Columns line, offset, text.
    order
        Names of the envelopes to try, best first; all of them when None.

    Returns
    -------
    opened, rest
        `opened` has the columns of `OPENED`.
    """
    chosen = plan.envelopes if order is None else tuple(e for n in order for e in plan.envelopes if e.envelope.name == n)
    out, rest = [pl.DataFrame(schema=OPENED)], lines
    for e in chosen:
        if rest.is_empty():
            break
        if e.envelope.json_paths:
            taken, rest = _open_json(rest, e.envelope)
            if taken.height:
                out.append(taken)
            continue
        for pattern in e.patterns:
            if rest.is_empty():
                break
            taken, rest = match(rest, pattern, "text")
            if taken.height:
                out.append(_columns(taken, pattern.types.get("time", ""), e.envelope))
    return (out[1] if len(out) == 2 else pl.concat(out).sort("line")), rest


def ranked(head: pl.DataFrame, plan: Plan) -> tuple[str, ...]:
    """The names of all envelopes, those that fit the first lines of an input best in front."""
    score = {e.envelope.name: open_envelopes(head, plan, (e.envelope.name,))[0].height for e in plan.envelopes}
    return tuple(sorted(score, key=lambda name: -score[name]))


def _columns(taken: pl.DataFrame, kind: str, envelope: Envelope) -> pl.DataFrame:
    given = {"stamp": "time", "stamp_kind": pl.lit(kind), "format": pl.lit(envelope.format, dtype=pl.String)}
    return taken.select(
        (value if isinstance(value, pl.Expr) else pl.col(value) if value in taken.columns else pl.lit(None, dtype=t)).alias(c)
        for c, t in OPENED.items()
        for value in (given.get(c, c),)
    )


# --- JSON -------------------------------------------------------------------------------------------------------------


def _open_json(rows: pl.DataFrame, envelope: Envelope) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One object a line. Text that is NULL (journald: too large to show) becomes empty, so that the ledger can call it damaged."""
    keys = {part: key for part, (key, _) in envelope.json_paths.items()}
    likely = rows["text"].str.starts_with("{") & rows["text"].str.contains(f'"{keys["message"]}"', literal=True)
    likely &= rows["text"].str.contains(f'"{keys["time"]}"', literal=True)
    if not likely.any():
        return rows.clear(), rows
    parts = {
        part: pl.coalesce(pl.col("text").str.json_path_match(f"$.{key}") for key in choice.split("|"))
        for part, choice in keys.items()
    }
    taken = rows.filter(likely).with_columns(**parts)
    good = taken["time"].is_not_null()
    message = pl.col("message").fill_null("")
    if taken["message"].str.starts_with("[").any():
        bytes_array = message.str.contains(r"^\[[0-9, ]+\]$")
        message = pl.when(bytes_array).then(from_byte_values(message)).otherwise(message)
    taken = taken.filter(good).with_columns(message=message.str.strip_chars_end("\r\n"))
    rest = pl.concat([rows.filter(~likely), rows.filter(likely).filter(~good)])
    return _columns(taken, envelope.json_paths["time"][1], envelope), rest


_HEX = [f"{n:02x}" for n in range(256)]
_SOUND = (  # UTF-8 in hexadecimal digits (RFC 3629, section 4)
    r"^(?:[0-7].|(?:c[2-9a-f]|d.)[89ab].|e0[ab].[89ab].|e[1-9a-cef](?:[89ab].){2}|ed[89].[89ab].|f0[9ab].(?:[89ab].){2}"
    r"|f[1-3](?:[89ab].){3}|f48.(?:[89ab].){2})*$"
)


def from_byte_values(column: pl.Expr) -> pl.Expr:
    """journald writes text that is not clean UTF-8 as an array of byte values; broken bytes stay visible as backslash escapes."""
    number = pl.element().str.strip_chars(" []").cast(pl.Int32, strict=False)
    digits = column.str.split(",").list.eval(number.replace_strict(list(range(256)), _HEX, default="3f", return_dtype=pl.String))
    joined = digits.list.join("")
    sound = pl.when(joined.str.contains(_SOUND)).then(joined)  # the cast below fails as a whole for one broken character
    clean = sound.str.decode("hex", strict=False).cast(pl.String, strict=False)
    shown = [chr(n) if 32 <= n < 127 else f"\\x{n:02x}" for n in range(256)]
    escaped = digits.list.eval(pl.element().replace_strict(_HEX, shown, default="?", return_dtype=pl.String)).list.join("")
    return pl.coalesce(clean, escaped)


# --- a record inside a record -----------------------------------------------------------------------------------------


def open_nested(opened: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """A record inside a record (a container's log shipper around a syslog line): the inner one counts.

    The inner envelope's time is the mail server's own; where it lacks the year, the outer stamp takes its place, which has
    the year and most often the zone. A shipper that lags behind makes such times late.
    """
    for _ in range(_DEEPEST):
        inside = opened["message"].str.contains(_NESTED)
        if not inside.any():
            break
        inner = opened.filter(inside)
        again, _left = open_envelopes(inner.select("line", "offset", text="message"), plan)
        if again.is_empty():
            break
        outer = inner.select(
            "line", outer_stamp="stamp", outer_kind="stamp_kind", outer_host="host", outer_tag="tag", outer_pid="pid"
        )
        again = again.join(outer, on="line", how="left", maintain_order="left")
        yearless = (pl.col("stamp_kind") == "bsd") & ~pl.col("outer_kind").is_in(["bsd", ""])
        again = again.with_columns(
            stamp=pl.when(yearless | (pl.col("stamp_kind") == "")).then("outer_stamp").otherwise("stamp"),
            stamp_kind=pl.when(yearless | (pl.col("stamp_kind") == "")).then("outer_kind").otherwise("stamp_kind"),
            host=pl.coalesce("host", "outer_host"),
            tag=pl.coalesce("tag", "outer_tag"),
            pid=pl.coalesce("pid", "outer_pid"),
        ).select(opened.columns)
        opened = pl.concat([opened.join(again.select("line"), on="line", how="anti", maintain_order="left"), again]).sort("line")
    return _open_bare(opened)


def _open_bare(opened: pl.DataFrame) -> pl.DataFrame:
    """Containers whose syslog daemon writes no stamp: `postfix/smtpd[85]: …` is all that is inside."""
    tagless = opened["tag"].is_null() & opened["format"].is_null()
    if not tagless.any():
        return opened
    inner = pl.col("message").str.extract_groups(_BARE)
    there = tagless & opened["message"].str.contains(_BARE)
    if not there.any():
        return opened
    return opened.with_columns(
        pl.when(there).then(inner.struct.field(name)).otherwise(name).alias(name) for name in ("tag", "pid", "message")
    )


# --- records in parts, and records that stand for several --------------------------------------------------------------


def join_parts(opened: pl.DataFrame, plan: Plan) -> tuple[pl.DataFrame, pl.Series]:
    """Records that were cut to fit a line of syslog: the first line gets the whole text, the lines of the others are returned.

    A format says how its parts look: `_part` is the part's number, `_glue` what the cut was made for (a backslash: the text had
    a newline there). A part whose first is not in this chunk stays as it is.
    """
    swallowed = [opened["line"].clear()]
    if not opened["message"].str.starts_with("[").any():
        return opened, swallowed[0]
    for form, pattern in plan.parts:
        tags = [p.regex for f, p in plan.tags if f is form]
        mine = pl.any_horizontal(pl.col("tag").str.contains(regex) for regex in tags) & pl.col("message").str.starts_with("[")
        pieces, _ = match(opened.filter(mine.fill_null(False)), pattern, "message")
        if pieces.is_empty():
            continue
        key = ["_file", "host", "tag", "pid"]
        pieces = pieces.sort("line").with_columns(_file=_FILE)
        pieces = pieces.with_columns(
            _first=(pl.col("_part") == "1").cum_sum().over(key),
            _end=pl.when(pl.col("_glue") == "\\").then(pl.lit("\n")).otherwise(pl.lit("")),
        )
        pieces = pieces.filter(pl.col("_first") > 0)
        whole = pieces.group_by([*key, "_first"], maintain_order=True).agg(
            pl.col("line").first(), _text=pl.concat_str("message", "_end").str.join("").str.strip_chars_end("\n")
        )
        gone = pieces.join(whole.select("line"), on="line", how="anti")["line"]
        swallowed.append(gone)
        opened = (
            opened.join(gone.to_frame(), on="line", how="anti", maintain_order="left")
            .join(whole.select("line", "_text"), on="line", how="left", maintain_order="left")
            .with_columns(message=pl.coalesce("_text", "message"))
            .drop("_text")
        )
    return opened, pl.concat(swallowed)


MOST_REPEATS = 10_000
"""A line that claims more repetitions than this counts as this many: the number is only text."""


def unfold(opened: pl.DataFrame) -> pl.DataFrame:
    """Lines that stand for repetitions get the text they repeat, and `_times`.

    rsyslog and syslog-ng name the text (`message repeated 3 times: [ text]`); BSD's syslogd means the line before it from the same
    host, which must be in the same chunk. One that follows nothing keeps its words and is a matter of the log daemon.
    """
    text = opened["message"]
    named = text.str.starts_with("message repeated ")
    before = text.str.starts_with("last message repeated ")
    if not named.any() and not before.any():
        return opened
    told = pl.col("message").str.extract_groups(r"^message repeated (?P<n>[0-9]+) times?: \[ ?(?P<text>.*)\]$")
    meant = pl.col("message").str.extract(r"^last message repeated ([0-9]+) times?$", 1)
    opened = opened.with_columns(_told=told, _meant=meant).sort("line")
    times = pl.coalesce(pl.col("_told").struct.field("n"), "_meant").cast(pl.Int64, strict=False).clip(1, MOST_REPEATS)
    last = {
        c: pl.when(pl.col("_meant").is_null()).then(c).forward_fill().over(_FILE, "host")
        for c in ("message", "tag", "pid", "format")
    }
    follows = pl.col("_meant").is_not_null() & last["message"].is_not_null()
    return opened.with_columns(
        message=pl.when(follows).then(last["message"]).otherwise(pl.coalesce(pl.col("_told").struct.field("text"), "message")),
        tag=pl.when(follows).then(last["tag"]).when(pl.col("_meant").is_not_null()).then(pl.lit("syslogd")).otherwise("tag"),
        pid=pl.when(follows).then(last["pid"]).otherwise("pid"),
        format=pl.when(follows).then(last["format"]).otherwise("format"),
        _times=pl.when(follows | pl.col("_told").struct.field("n").is_not_null()).then(times).fill_null(1),
    ).drop("_told", "_meant")


_STAMP = r"(?:[A-Z][a-z]{2} [ 0-3][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}(?:Z|[+-][0-9:]{4,6}))"
SPLICE = rf"{_STAMP} (\S+) [A-Za-z][\w./-]*\[[0-9]+\]: "
"""Where a second record begins inside a line: a stamp, a host, a tag with its process id."""


_OPEN = r"""helo=<[^<>]*$| T="(?:[^"\\]|\\.)*$"""
"""What a client says about itself, and a subject, that have not ended: a stamp in there is the client's own, to hide its line."""


def cut_at_splices(opened: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Two records on one line (two writers, a crash, a lost newline): the first is cut where the second begins.

    Returns
    -------
    opened
        Without the lines that hold nothing certain. What is left of a delivery record is certain up to its status; the second
        record is left out, because an attacker may have written it into a subject or an answer.
    lost
        The other lines: damaged.
    """
    inside = opened["message"].str.contains("]: ", literal=True)
    if inside.any():
        inside = opened.select((pl.when(inside).then("message")).str.contains(SPLICE).fill_null(False)).to_series()
    if not inside.any():
        return opened, opened["line"].clear()
    stamped = opened.filter(inside).with_columns(
        _host=pl.col("message").str.extract(SPLICE, 1), _head=pl.col("message").str.replace(rf"(?s){SPLICE}.*$", "")
    )
    forged = pl.col("_head").str.contains(_OPEN) & pl.col("message").str.contains(r'[>"]$|" from <|" for ')
    stamped = stamped.filter(pl.col("_host") == pl.col("host"), ~forged)
    sure = stamped["_head"].str.contains(r" status=[a-z]+ \(")
    kept = stamped.filter(sure).select("line", "_head")
    lost = stamped.filter(~sure)["line"]
    opened = opened.join(lost.to_frame(), on="line", how="anti", maintain_order="left").join(
        kept, on="line", how="left", maintain_order="left"
    )
    return opened.with_columns(message=pl.coalesce("_head", "message")).drop("_head"), lost
