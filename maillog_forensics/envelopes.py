"""How records begin: taking time, host and tag off a line, whatever wrapped it."""

from __future__ import annotations

import polars as pl

from maillog_forensics.grammar import Envelope
from maillog_forensics.matching import match
from maillog_forensics.patterns import BUILT_IN
from maillog_forensics.plan import Plan


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
        `opened` has in addition stamp, stamp_kind, host, tag, pid, zone, message, format (all strings).
    """
    chosen = plan.envelopes if order is None else tuple(e for n in order for e in plan.envelopes if e.envelope.name == n)
    out, rest = [], lines
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
                out.append(_envelope_columns(taken, pattern.types.get("time", ""), e.envelope))
    opened = pl.concat(out) if out else _envelope_columns(lines.clear(), "", None)
    return opened, rest


def _envelope_columns(taken: pl.DataFrame, kind: str, envelope: Envelope | None) -> pl.DataFrame:
    def part(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.String) if name in taken.columns else pl.lit(None, dtype=pl.String)

    return taken.select(
        "line", "offset",
        part("time").alias("stamp"),
        pl.lit(kind, dtype=pl.String).alias("stamp_kind"),
        part("host").alias("host"),
        part("tag").alias("tag"),
        part("pid").alias("pid"),
        part("zone").alias("zone"),
        part("message").alias("message"),
        pl.lit(envelope.format if envelope else None, dtype=pl.String).alias("format"),
    )  # fmt: skip


def _open_json(rows: pl.DataFrame, envelope: Envelope) -> tuple[pl.DataFrame, pl.DataFrame]:
    likely = rows["text"].str.starts_with("{") & rows["text"].str.contains(f'"{envelope.json_paths["message"][0]}"', literal=True)
    if not likely.any():
        return rows.clear(), rows
    parts = {p: pl.col("text").str.json_path_match(f"$.{key}") for p, (key, _) in envelope.json_paths.items()}
    taken = rows.filter(likely).with_columns(**parts)
    good = taken["message"].is_not_null() & taken["time"].is_not_null()
    bytes_array = pl.col("message").str.starts_with("[") & pl.col("message").str.contains(r"^\[[0-9, ]+\]$")
    taken = taken.filter(good).with_columns(
        message=pl.when(bytes_array).then(_from_byte_values(pl.col("message"))).otherwise(pl.col("message")).str.strip_suffix("\n")
    )
    kind = envelope.json_paths["time"][1]
    rest = pl.concat([rows.filter(~likely), rows.filter(likely).filter(~good)])
    return _envelope_columns(taken, kind, envelope), rest


def _from_byte_values(column: pl.Expr) -> pl.Expr:
    """journald writes text that is not clean UTF-8 as an array of byte values."""
    number = pl.element().str.strip_chars(" []").cast(pl.Int32, strict=False)
    char = pl.when(number.is_between(32, 126)).then(number).otherwise(63)
    return column.str.split(",").list.eval(_ascii(char)).list.join("")


def _ascii(number: pl.Expr) -> pl.Expr:
    return number.replace_strict(list(range(32, 127)), [chr(n) for n in range(32, 127)], default="?", return_dtype=pl.String)


def join_parts(opened: pl.DataFrame, plan: Plan) -> tuple[pl.DataFrame, pl.Series]:
    """Records that were cut to fit a line of syslog: the first line gets the whole text, the lines of the others are returned.

    A format says how its parts look: `_part` is the part's number, `_glue` what the cut was made for (a backslash: the text had
    a newline there). A part whose first is not in this chunk stays as it is.
    """
    swallowed = [opened["line"].clear()]
    for form, pattern in plan.parts:
        tags = [p.regex for f, p in plan.tags if f is form]
        mine = pl.any_horizontal(pl.col("tag").str.contains(regex) for regex in tags) & pl.col("message").str.starts_with("[")
        pieces, _ = match(opened.filter(mine.fill_null(False)), pattern, "message")
        if pieces.is_empty():
            continue
        key = ["host", "tag", "pid"]
        pieces = pieces.sort("line").with_columns(
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


def open_nested(opened: pl.DataFrame, plan: Plan) -> tuple[pl.DataFrame, int]:
    """A record inside a record (a container's log shipper around a syslog line): the inner one counts.

    The inner envelope's time is the mail server's own; where it lacks the year, the outer stamp lends it.
    """
    inner = opened.filter(pl.col("message").str.contains(rf"^(?:<[0-9]+>)?(?:{BUILT_IN['bsd']}|{BUILT_IN['iso']}|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}} [0-9:.]+) "))
    if inner.is_empty():
        return opened, 0
    again, _ = open_envelopes(inner.select("line", "offset", text="message"), plan)
    if again.is_empty():
        return opened, 0
    outer = inner.select("line", outer_stamp="stamp", outer_kind="stamp_kind", outer_host="host", outer_tag="tag", outer_pid="pid")
    again = again.join(outer, on="line", how="left", maintain_order="left")
    yearless = (pl.col("stamp_kind") == "bsd") & (pl.col("outer_kind") != "bsd")
    again = again.with_columns(
        stamp=pl.when(yearless).then("outer_stamp").otherwise("stamp"),
        stamp_kind=pl.when(yearless).then("outer_kind").otherwise("stamp_kind"),
        host=pl.coalesce("host", "outer_host"),
        tag=pl.coalesce("tag", "outer_tag"),
        pid=pl.coalesce("pid", "outer_pid"),
    ).select(opened.columns)
    return pl.concat([opened.join(again.select("line"), on="line", how="anti", maintain_order="left"), again]).sort("line"), again.height
