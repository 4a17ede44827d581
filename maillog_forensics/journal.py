"""The journal's export format (journalctl -o export): records of several lines, KEY=value, with an empty line between them."""

from __future__ import annotations

import polars as pl

from maillog_forensics import normalize
from maillog_forensics.envelopes import OPENED
from maillog_forensics.ledger import Ledger
from maillog_forensics.plan import Plan

_KEYS = {
    "stamp": ("__REALTIME_TIMESTAMP",), "host": ("_HOSTNAME",), "tag": ("SYSLOG_IDENTIFIER", "_COMM"), "pid": ("_PID", "SYSLOG_PID"),
    "message": ("MESSAGE",),
}  # fmt: skip
_LENGTH = r"^(?:\\x[0-9a-f]{2}|(?s:.)){8}"  # a binary field begins with its length in eight bytes; broken ones were escaped


def is_export(head: pl.DataFrame) -> bool:
    """Whether an input begins with a record of the export format."""
    return head["text"].head(40).str.contains(r"^__REALTIME_TIMESTAMP=[0-9]+$").any()


class Export:
    """Reads the records of one input, and keeps the unfinished one at a chunk's end for the next.

    Every line of a record is counted as what the record is; the event stands at its MESSAGE line.
    """

    name = ""  # the records tell
    basis = None

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.problems: list[str] = []
        self._held: pl.DataFrame | None = None

    def parse(self, lines: pl.DataFrame, *, last: bool = False) -> normalize.Parsed:
        """Like `normalize.parse`; with `last`, nothing is held back."""
        lines = lines if self._held is None else pl.concat([self._held, lines])
        ends = (lines["text"] == "").arg_true()
        whole = lines.height if last else (int(ends[-1]) + 1 if ends.len() else 0)
        self._held = lines.slice(whole)
        return self._records(lines.head(whole))

    def rest(self) -> normalize.Parsed:
        """The record that the input's end left unfinished."""
        held = (
            self._held
            if self._held is not None
            else pl.DataFrame(schema={c: OPENED[c] for c in ("line", "offset")} | {"text": pl.String})
        )
        return self.parse(held.clear(), last=True)

    def _records(self, lines: pl.DataFrame) -> normalize.Parsed:
        text = pl.col("text")
        rows = lines.with_columns(
            _record=(text == "").cum_sum(),
            _key=text.str.extract(r"^([A-Z_][A-Z0-9_]*)(?:=|$)", 1),
            _value=text.str.extract(r"^[A-Z_][A-Z0-9_]*=((?s:.)*)$", 1),
        )
        # KEY alone: the value, after its length, is on the next line
        binary = pl.col("_key").is_not_null() & pl.col("_value").is_null()
        rows = rows.with_columns(_value=pl.when(binary).then(text.shift(-1).str.replace(_LENGTH, "")).otherwise("_value"))
        parts = {
            name: pl.coalesce(pl.col("_value").filter(pl.col("_key") == key).first() for key in keys)
            for name, keys in _KEYS.items()
        }
        records = rows.filter(text != "").group_by("_record", maintain_order=True).agg(
            **{f"_{c}": pl.coalesce(pl.col(c).filter(pl.col("_key") == "MESSAGE").first(), pl.col(c).first()) for c in ("line", "offset")},
            **parts,
        )  # fmt: skip
        opened = records.select(
            line="_line", offset="_offset", stamp="stamp", stamp_kind=pl.lit("epoch_us"), host="host", tag="tag", pid="pid",
            zone=pl.lit(None, dtype=pl.String), message=pl.col("message").fill_null(""), format=pl.lit(None, dtype=pl.String),
        )  # fmt: skip
        parsed = normalize.read_opened(opened, self.plan)
        states = records.select("_record", line="_line").join(parsed.ledger.table(), on="line").select("_record", "state")
        whole = rows.select("line", "_record", blank=text == "").join(states, on="_record", how="left", maintain_order="left")
        state = pl.when("blank").then(pl.lit("ignored")).otherwise(pl.col("state").fill_null("unrecognised"))
        ledger = Ledger()
        for (name,), part in whole.select("line", state=state).partition_by("state", as_dict=True).items():
            ledger.add(str(name), part["line"])
        return normalize.Parsed(parsed.tables, ledger)
