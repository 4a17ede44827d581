"""Trees of expressions, and the three things that are made of them: struct columns, flat columns, JSON text without NULLs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

Tree = Mapping[str, "pl.Expr | Tree"]
"""Field names to expressions, or to trees of such: one row of input gives one document."""


def columns(tree: Tree) -> list[pl.Expr]:
    """One column for each field at the top, structs for those that have fields of their own."""
    return [_column(value).alias(name) for name, value in tree.items()]


def _column(value: pl.Expr | Tree) -> pl.Expr:
    return value if isinstance(value, pl.Expr) else pl.struct(columns(value))


def flat(tree: Tree, prefix: str = "") -> Iterator[pl.Expr]:
    """One column for each leaf, named by its path with dots; lists as their values with blanks between."""
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, pl.Expr):
            yield value.alias(path)
        else:
            yield from flat(value, f"{path}.")


def json(tree: Tree, rows: pl.Schema) -> pl.Expr:
    """Each row as the text of a JSON object, in which a field without a value is absent.

    Parameters
    ----------
    rows
        Schema of the table that the expressions are of.

    Notes
    -----
    polars' own JSON writer says `null` for what is absent, which the schemas of others refuse; so the text is put together
    here, each value by polars' encoder.
    """
    types = dict(zip(_paths(tree), pl.LazyFrame(schema=rows).select(flat(tree)).collect_schema().dtypes()))
    return _object(tree, types, "", whole=True)


def _paths(tree: Tree, prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, pl.Expr):
            yield f"{prefix}{name}"
        else:
            yield from _paths(value, f"{prefix}{name}.")


def _object(tree: Tree, types: dict[str, pl.DataType], prefix: str, *, whole: bool = False) -> pl.Expr:
    members = []
    for name, value in tree.items():
        path = f"{prefix}{name}"
        text = _value(value, types[path]) if isinstance(value, pl.Expr) else _object(value, types, f"{path}.")
        members.append(pl.lit(f'"{name}":') + text)
    inside = pl.concat_str(members, separator=",", ignore_nulls=True)
    text = pl.lit("{") + inside + pl.lit("}")
    return text if whole else pl.when(inside != "").then(text)


def _value(value: pl.Expr, kind: pl.DataType) -> pl.Expr:
    if isinstance(kind, pl.List):
        return pl.lit("[") + value.list.eval(_value(pl.element(), kind.inner)).list.join(",") + pl.lit("]")  # type: ignore[arg-type]
    if kind == pl.Boolean or kind.is_integer():
        return value.cast(pl.String)
    if kind.is_float():
        return pl.when(value.is_finite()).then(value).cast(pl.String)
    text = value.cast(pl.String)
    encoded = pl.struct(text.alias("_")).struct.json_encode().str.strip_prefix('{"_":').str.strip_suffix("}")
    return pl.when(text.is_not_null()).then(encoded)
