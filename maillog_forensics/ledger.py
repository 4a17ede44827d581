"""The ledger: every line of an input is counted in exactly one state."""

from __future__ import annotations

import polars as pl

from maillog_forensics.schema import LINE_STATES


class Ledger:
    """Numbers of lines by state (`schema.LINE_STATES`)."""

    def __init__(self) -> None:
        self._lines: dict[str, list[pl.Series]] = {state: [] for state in LINE_STATES}

    def add(self, state: str, lines: pl.Series) -> None:
        """Count lines, which may stand there more than once, as `state`."""
        if lines.len():
            self._lines[state].append(lines)

    def damaged(self, lines: pl.Series) -> None:
        """Count lines as damaged, whatever they were counted as before."""
        if lines.is_empty():
            return
        for state, parts in self._lines.items():
            self._lines[state] = [part.filter(~part.is_in(lines.implode())) for part in parts]
        self.add("damaged", lines)

    def lines(self, state: str) -> pl.Series:
        """The lines of one state, each once, in order; damage goes before all else."""
        parts = self._lines[state]
        if not parts:
            return pl.Series("line", [], dtype=pl.UInt64)
        lines = pl.concat(parts).sort()
        lines = lines.filter((lines != lines.shift(1)).fill_null(True))
        if state != "damaged" and self._lines["damaged"]:
            return lines.filter(~lines.is_in(pl.concat(self._lines["damaged"]).implode()))
        return lines

    def counts(self) -> dict[str, int]:
        """How many lines are in each state."""
        return {state: self.lines(state).len() for state in LINE_STATES}

    def table(self) -> pl.DataFrame:
        """Columns line and state, in the order of the lines."""
        return pl.concat(self.lines(s).to_frame("line").with_columns(state=pl.lit(s)) for s in LINE_STATES).sort("line")
