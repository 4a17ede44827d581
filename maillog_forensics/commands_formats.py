"""The commands about log formats: which there are, whether they hold, what one says of a line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from maillog_forensics.text import visible

formats = typer.Typer(help="The log formats this program knows (parsers/*.grammar).", no_args_is_help=True)

Parsers = Annotated[Path | None, typer.Option("--parsers", metavar="DIR", help="A folder with your own *.grammar files.")]


@formats.command("list")
def formats_list(parsers: Parsers = None) -> None:
    """Formats, with the number of their rules and samples."""
    from maillog_forensics import checking

    sys.stdout.write(checking.listing(parsers))


@formats.command("check")
def formats_check(parsers: Parsers = None) -> None:
    """Prove every sample of every rule, and that no sample is claimed by two rules."""
    from maillog_forensics import checking

    faults, samples = checking.check(parsers)
    for fault in faults:
        typer.echo(visible(fault), err=True)
    typer.echo(f"{samples} samples, {len(faults)} fault{'' if len(faults) == 1 else 's'}", err=True)
    if faults:
        raise typer.Exit(1)


@formats.command("propose")
def formats_propose(
    line: Annotated[str, typer.Argument(help="A line that no format knows, in quotes.")], parsers: Parsers = None
) -> None:
    """Draft a rule for a line that nothing knows, for you to prune and put into a .grammar file."""
    from maillog_forensics import proposing

    sys.stdout.write(proposing.propose(line, parsers))


@formats.command("explain")
def formats_explain(line: Annotated[str, typer.Argument(help="One line of a log, in quotes.")], parsers: Parsers = None) -> None:
    """Show which rule takes a line, and what it reads from it."""
    from maillog_forensics import checking

    sys.stdout.write(checking.explain(line, parsers))


def register(app: typer.Typer) -> None:
    """Add these commands to the program's."""
    app.add_typer(formats, name="formats")
