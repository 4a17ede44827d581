"""Formats whose lines are records with a head that names the columns (Exchange's tracking logs and exports).

`layouts` reads what the grammar files say about them; here the statements become polars expressions, once for each head that
an input holds. No Python runs per record.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable

import polars as pl

from maillog_forensics import cells, culture, schema, stamps
from maillog_forensics.cells import plain
from maillog_forensics.clock import TimeBasis
from maillog_forensics.layouts import FIELDS, Column, Head, RecordFormat, find_head, formats, lost_head
from maillog_forensics.ledger import Ledger
from maillog_forensics.normalize import Parsed, Plan, typed
from maillog_forensics.rules import read_fields

_LOST = r"^System\.[A-Za-z.]+[\[\]`0-9A-Za-z.,]*$"  # PowerShell shows the type where a list stood
_ISO = r"^([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?)"
_MAX_HEADS = 300  # of different wording in one input; more is an attack, or text that looks like heads
_TOO_MANY = f"more than {_MAX_HEADS} different heads: what stands below the later ones was read as belonging to those before"
_SEPARATORS, _GUARDS = [";", ",", "|", " "], "\ue0f0\ue0f1\ue0f2\ue0f3"
"""What may separate addresses, and what stands for it meanwhile where it is a part of one."""
_PART = "\x1f"  # stands between the parts of a cell that was split


def claims(line: str, plan: Plan) -> list[str]:
    """Names of the formats that a record without its head may belong to."""
    return [r.form.name for r in formats(plan) if r.heads and lost_head(line, [r])]


def recognise(head: pl.DataFrame, plan: Plan, path: str, wanted: str | None) -> Reader | None:
    """The reader for an input that begins with `head`, or None where it is not made of records."""
    known = formats(plan)
    if wanted:
        known = [r for r in known if wanted in (r.form.name, r.form.mta)]
    lines = head["text"].filter(head["text"].str.strip_chars() != "")
    found = next((h for t in lines.filter(_maybe_head(lines, known)) if (h := _find(t, known))), None)
    if found is None:
        probe = [t for t in lines.head(50) if not t.startswith("#")][:20]
        fits = [h for h in (lost_head(t, known) for t in probe) if h]
        found = fits[0] if fits and 2 * len(fits) >= len(probe) else None
    return Reader(found.record.form.name, plan, path, found, known) if found else None


def may_be_head(text: pl.Series, plan: Plan) -> pl.Series:
    """The lines at an input's beginning that `recognise` may take for a head."""
    return _maybe_head(text, formats(plan))


def may_be_cells(text: pl.Series, plan: Plan) -> pl.Series:
    """The lines at an input's beginning that `recognise` may take for a record without its head."""
    fewest: dict[str, int] = {}
    for record in formats(plan):
        for mark in record.delimiters if record.layouts else ():
            fewest[mark] = min(fewest.get(mark, 1 << 30), min(record.layouts) - 1)
    maybe = text.str.starts_with("{")
    for mark, count in fewest.items():
        maybe |= text.str.count_matches(mark, literal=True) >= count
    return maybe


def _find(line: str, known: list[RecordFormat]) -> Head | None:
    """The head that `line` is; one that names columns which no format knows belongs to the last resort."""
    found = find_head(line, known)
    rest = next((r for r in known if r.aside and not r.heads and not r.sign), None)
    return found or (Head(rest, (), ",") if rest and FIELDS.match(line) else None)


def _maybe_head(text: pl.Series, known: list[RecordFormat]) -> pl.Series:
    """The lines worth a look: those that have the first name of a head as a cell, or a format's sign."""
    anchors = "|".join(sorted({re.escape(t.split()[0]) for r in known for _, t in r.form.options.get("head", [])}))
    signs = "|".join(f"(?:{r.sign})" for r in known if r.sign)
    if not anchors:
        return pl.Series([False] * text.len(), dtype=pl.Boolean)
    records = text.str.contains("@", literal=True) | text.str.starts_with(
        "{"
    )  # a head names no address; a subject may be "Received"
    others = text.set(records, None) if records.any() else text
    named = others.str.contains(rf'(?i)^\s*"?#fields:|(?:^|[,;|\t"])(?:\$_\.)?(?:{anchors})(?:$|[,;|\t"])').fill_null(False)
    return named | text.str.contains(signs or "^$")


# --- reading records --------------------------------------------------------------------------------------------------


class Reader:
    """Reads the records of one input; keeps the head that is in force from chunk to chunk.

    Attributes
    ----------
    name
        Of the format.
    basis
        How local dates became UTC, where the records themselves prove it; None where `clock` decides.
    """

    def __init__(self, name: str, plan: Plan, path: str, head: Head, known: list[RecordFormat]) -> None:
        self.name, self.plan = name, plan
        self._problems: list[str] = []
        self._count = 0
        self.basis: TimeBasis | None = None
        self._head, self._known = head, known
        self._order: culture.Order | None = None
        self._met: dict[str, Head | None] = {}
        told = re.search(head.record.file, re.split(r"[/\\]", path)[-1]) if head.record.file else None
        self._constants = {"mta": head.record.form.mta} | {k: v.lower() for k, v in (told.groupdict() if told else {}).items()}

    def parse(self, lines: pl.DataFrame) -> Parsed:
        """Like `parse` of the module normalize."""
        return self.take(self.begin(lines)())

    def begin(self, lines: pl.DataFrame) -> Callable[[], Part]:
        """What is left to do of a chunk once it is known which heads are in force where: it may run beside that of other chunks.

        Chunks begin in their order. One with local dates, which those before it help to read, is read at once.
        """
        part = Part(self.plan, self._constants, self._order)
        text = lines["text"].str.strip_chars()
        noise = text.str.starts_with("#") | (text == "")
        if heads := self._heads(text, part):
            noise = noise.scatter(list(heads), [True] * len(heads))
        starts = [0, *heads, lines.height]
        groups: dict[_Key, tuple[Head, list[pl.DataFrame]]] = {}
        for start, end in itertools.pairwise(starts):
            self._head = heads.get(start) or self._head
            rows = lines.slice(start, end - start).filter(~noise[start:end])
            if rows.height:
                key = (self._head.record.form.name, self._head.names, self._head.delimiter)
                groups.setdefault(key, (self._head, []))[1].append(rows)
        below = [(head, pl.concat(rows)) for head, rows in groups.values()]
        noisy = lines["line"].filter(noise)
        if not any(column.kind.startswith("local") for head, _ in below for column in head.record.columns):
            return lambda: part.read(below, noisy)
        part.read(below, noisy)
        self._order = part.order
        return lambda: part

    def take(self, part: Part) -> Parsed:
        """What a chunk said, once those before it were taken."""
        self._count += part.count
        self.basis = self.basis or part.basis
        self._problems += [sentence for sentence in part.problems if sentence not in self._problems]
        return Parsed(part.tables, part.ledger)

    @property
    def problems(self) -> list[str]:
        """What a person should know about this input."""
        cut = self._head.record.cut
        return [*self._problems, *([cut[1]] if cut and cut[0] == self._count else [])]

    def _heads(self, text: pl.Series, part: Part) -> dict[int, Head]:
        """The heads among some lines, by their places."""
        heads: dict[int, Head] = {}
        maybe = _maybe_head(text, self._known).arg_true()
        for at, line in zip(maybe.to_list(), text.gather(maybe).to_list()):
            if line not in self._met:
                if len(self._met) >= _MAX_HEADS:
                    part.say(_TOO_MANY)
                    continue
                self._met[line] = _find(line, self._known)
            if found := self._met[line]:
                heads[at] = found
                part.say(found.record.aside)
        return heads


class Part:
    """The records of one chunk, read: its tables and ledger, and what else they told."""

    def __init__(self, plan: Plan, constants: dict[str, str | None], order: culture.Order | None) -> None:
        self.tables: list[pl.DataFrame] = []
        self.ledger = Ledger()
        self.problems: list[str] = []
        self.count = 0
        self.order = order
        self.basis: TimeBasis | None = None
        self._plan, self._constants = plan, constants

    def read(self, below: list[tuple[Head, pl.DataFrame]], noise: pl.Series) -> Part:
        """Read the lines below each head; returns itself."""
        self.ledger.add("ignored", noise)
        for head, lines in below:
            self.tables += [typed(stamps.naive(t)) for t in self._records(lines, head) if t.height]
        return self

    def say(self, sentence: str | None) -> None:
        if sentence and sentence not in self.problems:
            self.problems.append(sentence)

    def _records(self, lines: pl.DataFrame, head: Head) -> list[pl.DataFrame]:
        """The records below one head; those with another number of cells go by the layout of that number."""
        record = head.record
        if record.aside:
            self.ledger.add("ignored", lines["line"])
            return []
        if head.delimiter == "{":
            members = {f"c.{plain(m)}": pl.col("text").str.json_path_match(f"$.{m}") for m in record.members}
            return [self._read(lines.select("line", **members), record)]
        if record.forwarded:
            lines = lines.with_columns(pl.col("text").str.replace(record.forwarded, "${1}"))
        rows = lines.select("line", raw=cells.split(lines["text"], head.delimiter)).with_columns(n=pl.col("raw").list.len())
        out = []
        alike = rows["n"].n_unique() == 1
        parts = {(rows["n"][0],): rows} if alike else rows.partition_by("n", as_dict=True, maintain_order=True)
        for (count,), part in parts.items():
            names = head.names if count == len(head.names) else record.layouts.get(count)
            if names is None:
                self.ledger.add("damaged", part["line"])
                continue
            out.append(self._read(_table(part, names, record), record))
        return out

    def _read(self, rows: pl.DataFrame, record: RecordFormat) -> pl.DataFrame:
        """Records cut into cells; one without a time is damaged."""
        events = self._events(rows, record)
        if events["stamp"].has_nulls():
            good = events.filter(pl.col("stamp").is_not_null())
            bad = rows.filter(~pl.col("line").is_in(good["line"].unique().implode()))["line"]
        else:
            good, bad = events, rows["line"].clear()
        read = good["line"].filter((good["line"] != good["line"].shift(1)).fill_null(True))
        self.count += read.len()
        self.ledger.add("parsed", read)
        self.ledger.add("damaged", bad)
        return good

    def _events(self, rows: pl.DataFrame, record: RecordFormat) -> pl.DataFrame:
        rows = self._whole(rows, record)
        rows = _spread(rows, record)
        for cell, form, block in record.scans:
            if f"c.{cell}" in rows.columns:
                rows = _scan(rows, f"c.{cell}", block, form, self._plan)
        rows = rows.with_columns(pl.lit(v).alias(k) for k, v in self._constants.items())
        told = dict.fromkeys([*record.events[0], *(c.when for c in record.columns if c.when)])
        rows = rows.with_columns(pl.col(c).str.to_uppercase().alias(f"u.{n}") for n, c in _stand(told, rows.columns))
        ids = dict.fromkeys(n for c in record.columns if c.kind == "id" for n in c.cells)
        rows = rows.with_columns(_id(rows[c]).alias(f"i.{n}") for n, c in _stand(ids, rows.columns))
        times = [c for c in record.columns if c.name == "time"]
        for name in dict.fromkeys(c.name for c in record.columns if c.name != "time"):
            values = [e for c in record.columns if c.name == name and (e := _value(c, rows.columns)) is not None]
            if values:
                rows = rows.with_columns(pl.coalesce(*([pl.col(name)] if name in rows.columns else []), *values).alias(name))
        rows = rows.with_columns(event=_event(record, rows.columns))
        rows = self._stamps(rows, times)
        return rows.select(c for c in rows.columns if c in schema.EVENTS or c in ("stamp", "stamp_kind", "zone"))

    def _whole(self, rows: pl.DataFrame, record: RecordFormat) -> pl.DataFrame:
        """Braces off collections; cells that hold a type's name instead of its values are lost, and that is said once."""
        lists = [c for c in rows.columns if c[2:] in record.wrapped]
        lossy = rows.select(pl.col(c).str.contains(_LOST).any() for c in lists)
        if lost := [c for c in lists if lossy[c][0]]:
            sentence = (
                "this export lost the values of lists (it has System.String[] or the like where addresses stood): export again "
                "with Select-Object … @{n='Recipients';e={$_.Recipients -join ';'}}"
            )
            self.say(sentence)
            rows = rows.with_columns(pl.when(~pl.col(c).str.contains(_LOST)).then(c).alias(c) for c in lost)
        return rows.with_columns(_unbrace(c) for c in lists)

    def _stamps(self, rows: pl.DataFrame, times: list[Column]) -> pl.DataFrame:
        for column in times:
            have = [f"c.{c}" for c in column.cells if f"c.{c}" in rows.columns]
            if not have:
                continue
            stamp = pl.coalesce(have)
            dated = pl.when(stamp.str.starts_with("/")).then(stamp)  # OData, in milliseconds
            epoch = dated.str.extract(r"^/Date\((-?[0-9]+)\)/$", 1).cast(pl.Int64, strict=False)
            stamp = pl.coalesce(pl.from_epoch(epoch, "ms").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"), stamp)
            if column.kind == "utc":
                return rows.with_columns(stamp=stamp.str.extract(_ISO, 1), stamp_kind=pl.lit("iso"), zone=pl.lit("Z"))
            return self._local(rows.with_columns(_when=stamp), column.kind == "local-utc")
        return rows.with_columns(stamp=pl.lit(None, dtype=pl.String), stamp_kind=pl.lit(""), zone=pl.lit(None, dtype=pl.String))

    def _local(self, rows: pl.DataFrame, is_utc: bool) -> pl.DataFrame:
        cells_with_stamps = [pl.col(c) for c in rows.columns if c[2:] in culture.PROOFS]
        proof = pl.concat_str([pl.lit(""), *cells_with_stamps], separator=" ", ignore_nulls=True)
        rows, order, sentence = culture.read(rows, "_when", proof, is_utc, self.order)
        self.order = order
        self.say(sentence)
        self.basis = self.basis or order.basis
        return rows


_Key = tuple[str, tuple[str, ...], str]


def _table(rows: pl.DataFrame, names: tuple[str, ...], record: RecordFormat) -> pl.DataFrame:
    """A column `c.NAME` for each cell that a statement asks for."""
    wanted = {c for column in record.columns for c in (*column.cells, column.when)} | {s[0] for s in record.scans}
    wanted |= set(record.events[0]) | set(record.splits) | set(record.pairs) | culture.PROOFS
    at = {name: index for index, name in reversed(list(enumerate(names))) if name in wanted}
    return rows.select("line", **{f"c.{n}": _filled(pl.col("raw").list.get(i)) for n, i in at.items()})


def _filled(cell: pl.Expr) -> pl.Expr:
    return pl.when(cell != "").then(cell)


def _unbrace(cell: str) -> pl.Expr:
    value = pl.col(cell)
    both = value.str.starts_with("{") & value.str.ends_with("}")
    return pl.when(both).then(value.str.head(-1).str.slice(1)).otherwise(value).alias(cell)


def _guarded(cell: pl.Expr) -> pl.Expr:
    """A list of addresses with the separators that stand in a quoted local part made others: `"a;b"@c.example` is one address (RFC 5321, 4.1.2)."""
    quoted = r'(?:^|[;,|] *)"(?:[^"\\]|\\.)*"@'
    token = pl.element()
    # what stands first separates addresses, or is the quote
    inside = token.str.slice(1).str.replace_many(_SEPARATORS, list(_GUARDS))
    kept = pl.when(token.str.contains(f"^{quoted}$")).then(token.str.head(1) + inside).otherwise(token)
    return cell.str.extract_all(rf'(?s){quoted}|[^;,|"]+|.').list.eval(kept).list.join("")


def _spread(rows: pl.DataFrame, record: RecordFormat) -> pl.DataFrame:
    """One row for each part of the cell that others are paired with; a pair's parts go by position."""
    have = [c for c in record.splits if f"c.{c}" in rows.columns]
    parts = []
    for cell in have:
        has_quotes = rows[f"c.{cell}"].str.contains('"@', literal=True).any()
        value = _guarded(pl.col(f"c.{cell}")) if has_quotes else pl.col(f"c.{cell}")
        for expression in record.splits[cell]:
            names = re.findall(r"\(\?P<(\w+)>", expression)
            before = "".join(f"${{{n}}}" for n in names if n == "before")
            after = "".join(f"${{{n}}}" for n in names if n != "before")
            value = value.str.replace_all(expression, f"{before}{_PART}{after}")
        part = pl.element().str.strip_chars()
        part = part.str.replace_many(list(_GUARDS), _SEPARATORS) if has_quotes else part
        parts.append(value.str.split(_PART).list.eval(part).alias(f"c.{cell}"))
    rows = rows.with_columns(parts)
    if not have:
        return rows
    leader = next((c for c in have if c not in record.pairs), have[0])  # a broken head may name a status and no recipient
    count = pl.col(f"c.{leader}").list.len().fill_null(1)
    rows = rows.with_columns(_part=pl.int_ranges(0, count)).explode("_part", empty_as_null=True, keep_nulls=True)
    return rows.with_columns(pl.col(f"c.{c}").list.get(pl.col("_part"), null_on_oob=True).alias(f"c.{c}") for c in have).drop(
        "_part"
    )


def _scan(rows: pl.DataFrame, cell: str, block: str, form: str, plan: Plan) -> pl.DataFrame:
    """Search the distinct values of one cell with a block of fields; what was found first stays."""
    values = rows.select(pl.col(cell).unique()).drop_nulls()
    if values.is_empty():
        return rows
    found = read_fields(values, cell, block, form, plan)
    new = [c for c in found.columns if c != cell]
    joined = rows.select(cell).join(found, on=cell, how="left", maintain_order="left")
    return rows.with_columns(pl.coalesce(pl.col(c), joined[c]).alias(c) if c in rows.columns else joined[c] for c in new)


def _id(cell: pl.Series) -> pl.Series:
    """What stands between < and >, or the cell as it is; almost always it is <…> and nothing else."""
    value = cell.str.strip_chars(" \t")
    bare = value.str.strip_prefix("<").str.strip_suffix(">")
    is_plain = value.str.starts_with("<") & value.str.ends_with(">") & ~bare.str.contains(r"[^!-;=?-~]")
    if is_plain.fill_null(True).all():
        return bare
    odd = value.set(is_plain.fill_null(True), None)  # NULL costs an expression nothing
    return pl.select(pl.coalesce(odd.str.extract(r"<\s*([^<>]*?)\s*>", 1), odd, bare)).to_series()


def _stand(names: Iterable[str], have: list[str]) -> list[tuple[str, str]]:
    """Cells, or what a scan found under their names, and the columns in which they stand; without those that are not there."""
    stands = ((n, f"c.{n}" if f"c.{n}" in have else n) for n in names)
    return [(n, c) for n, c in stands if c in have]


def _value(column: Column, have: list[str]) -> pl.Expr | None:
    """The expression of one `column` statement, or None where this head has none of its cells."""
    present = [c for _, c in _stand(column.cells, have)]
    if not present or (column.when and f"c.{column.when}" not in have):
        return None
    value = pl.coalesce(present).str.strip_chars(" \t")
    match column.kind:
        case "small":
            value = value.str.to_lowercase()
        case "address":
            value = value.str.strip_prefix("<").str.strip_suffix(">")
        case "id":
            value = pl.coalesce(f"i.{c.removeprefix('c.')}" for c in present)
        case "number":
            value = pl.when(value != "0").then(value)
        case "int":
            value = value.cast(pl.Int64, strict=False)
    if column.when:
        value = pl.when(pl.col(f"u.{column.when}").is_in(column.words)).then(value)
    return value


def _event(record: RecordFormat, have: list[str]) -> pl.Expr:
    """What a record states: by its first cell and its second (`FAIL/DNS`), by the first alone, else by `*`."""
    names, table = record.events
    mapping = record.tables.get(table, {})
    cell = [pl.col(f"u.{n}") if f"u.{n}" in have else pl.lit(None, dtype=pl.String) for n in names]
    keys = [cell[0] + "/" + cell[1]] if len(cell) > 1 else []
    upper = {k.upper(): v for k, v in mapping.items()}
    found = [k.replace_strict(upper, default=None, return_dtype=pl.String) for k in [*keys, cell[0]]]
    return pl.coalesce(*found, pl.lit(upper.get("*", "notice")))
