"""The commands of the scheduled daily report and of its archive."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from maillog_forensics.errors import UsageError

archive = typer.Typer(help="The archive that 'daily' keeps: figures, checks, retention.", no_args_is_help=True)
config = typer.Typer(help="The configuration of 'daily'.", no_args_is_help=True)

ConfigFile = Annotated[
    Path, typer.Option("--config", metavar="FILE.toml", help="The configuration ('config dump' writes one to start from).")
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the archive.")]


def daily(
    config: ConfigFile,
    quiet: Annotated[bool, typer.Option("--quiet", help="Words only when something is wrong.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 4 when a log could not be read.")] = False,
    top: Annotated[
        int | None, typer.Option("--top", min=1, max=1000, metavar="N", help="Rows of each list, instead of report.top.")
    ] = None,
    lang: Annotated[
        str | None, typer.Option("--lang", metavar="CODE", help="Language of pages and digest, instead of report.lang: en, fil.")
    ] = None,
) -> None:
    """Take in what is new, make each day's page, mail the digest. Safe to run at any hour, twice, late, or after a week."""
    from maillog_forensics.daily import run
    from maillog_forensics.daily.config import read
    from maillog_forensics.language import language

    settings = read(config)
    if lang:
        language(lang)  # an unknown one is told before the work
    instead = {name: value for name, value in (("top", top), ("lang", lang)) if value}
    settings = settings.model_copy(update={"report": settings.report.model_copy(update=instead)})
    outcome = run.run(settings, note=None if quiet else _note)
    _finish(outcome, settings, quiet, strict)


def _finish(outcome: object, settings: object, quiet: bool, strict: bool) -> None:
    from maillog_forensics.daily import run
    from maillog_forensics.daily.config import Config

    assert isinstance(outcome, run.Outcome)
    assert isinstance(settings, Config)
    wrong = outcome.progress.problems + outcome.failures
    for sentence in wrong if quiet else run.told(outcome, settings):
        _note(sentence)
    if not quiet and outcome.pages:
        typer.echo(f"Pages: {settings.folder / 'index.html'}", err=True)
    if outcome.matched:
        raise typer.Exit(10)
    if outcome.failures:
        raise typer.Exit(1)
    if strict and outcome.progress.problems:
        raise typer.Exit(4)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _note(sentence: str) -> None:
    from maillog_forensics.text import visible

    typer.echo(visible(sentence), err=True)


@archive.command("status")
def archive_status(
    folder: Folder,
    logs: Annotated[bool, typer.Option("--logs", help="Tell of each log under which name it was seen last.")] = False,
) -> None:
    """What the archive holds: days, events, and how far each server's logs reach."""
    from maillog_forensics.archive import retention, store
    from maillog_forensics.figures import bytes_text
    from maillog_forensics.text import visible

    with store.looking(folder) as held:
        status = retention.status(held)
        due = [row[0] for row in held.ledger.execute("SELECT day FROM due UNION SELECT day FROM changed ORDER BY 1")]
    span = f" from {status.first} to {status.last}" if status.days else ""
    typer.echo(f"{_count(status.days, 'day')}{span}, {_count(status.events, 'event')}, {bytes_text(status.size)}")
    typer.echo(f"{_count(status.lines, 'line')}: {status.unrecognised:,} not understood, {status.damaged:,} damaged")
    if due:
        typer.echo(f"pages that the next run makes: {', '.join(due)}")
    for name, count, lines, last, clocks in status.places:
        until = f" up to {last[:19]}" if last else ", none of them with a time"
        typer.echo(visible(f"{name}  {_count(lines, 'line')} in {_count(count, 'log')}{until}; clock {', '.join(clocks)}"))
    for source, path, lines, last, zone in status.logs if logs else ():
        typer.echo(visible(f"{source}  {lines:,} lines up to {last[:19]}, seen as {path}; clock {zone}"))


@archive.command("verify")
def archive_verify(folder: Folder) -> None:
    """Hash every file of the archive and check its ledger; exits with 1 when something is wrong."""
    from maillog_forensics.archive import store

    with store.looking(folder) as held:
        faults = held.verify()
        count = len(held.ledger.segments())
    for fault in faults:
        _note(fault)
    typer.echo(f"{_count(count, 'file')} of events, {_count(len(faults), 'fault')}", err=True)
    if faults:
        raise typer.Exit(1)


@archive.command("rebuild")
def archive_rebuild(
    config: ConfigFile,
    from_logs: Annotated[
        bool, typer.Option("--from-logs", help="Read the logs that are still there from their beginning too.")
    ] = False,
) -> None:
    """Make the pages of all days again; with --from-logs, what this version reads in the logs replaces what was read before."""
    from maillog_forensics.daily import run
    from maillog_forensics.daily.config import read

    settings = read(config)
    outcome = run.run(settings, note=_note, is_anew=from_logs, is_remade=True)
    _finish(outcome, settings, False, False)


@archive.command("forget")
def archive_forget(
    config: ConfigFile,
    before: Annotated[str, typer.Option("--before", metavar="DATE", help="The first day to keep (2026-03-01).")],
) -> None:
    """Remove the events, pages and findings of all days before a date, for good."""
    import datetime as dt

    from maillog_forensics.archive import retention, store
    from maillog_forensics.daily import pages
    from maillog_forensics.daily.config import read
    from maillog_forensics.options import duration_s

    settings = read(config)
    try:
        date = dt.date.fromisoformat(before)
    except ValueError:
        raise UsageError(f"--before {before}: not a date; write for instance --before 2026-03-01") from None
    with store.writing(settings.archive, wait_s=duration_s(settings.wait, "wait")) as held:
        days = retention.forget(held, date)
        made = pages.forget(settings, date)
        pages.make_folder(settings.folder)
        pages.write_index(held, settings)
    typer.echo(f"{_count(days, 'day')} of events and {_count(made, 'page')} were removed", err=True)


@config.command("check")
def config_check(config: Annotated[Path, typer.Argument(metavar="FILE.toml", help="The configuration.")]) -> None:
    """Read a configuration, and look whether its logs are there and can be read."""
    from maillog_forensics import logfiles
    from maillog_forensics.daily.config import read

    settings = read(config)
    wrong = 0
    for entry in settings.logs:
        files, problems = logfiles.expand(list(entry.paths))
        for path in files:
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                problems.append(f"{logfiles.label(path)}: can't be read ({(error.strerror or str(error)).lower()})")
        wrong += len(problems)
        for problem in problems:
            _note(f"{entry.name}: {problem}")
        typer.echo(f"{entry.name}: {_count(len(files), 'file')}", err=True)
    mail = f"a digest to {', '.join(settings.mail.to)}" if settings.mail.to else "no mail"
    typer.echo(f"archive {settings.archive}, pages in {settings.folder}, {mail}", err=True)
    if wrong:
        raise typer.Exit(3)


@config.command("dump")
def config_dump(
    config: Annotated[
        Path | None, typer.Argument(metavar="[FILE.toml]", help="A configuration; without it, all defaults.")
    ] = None,
) -> None:
    """Write a configuration with every setting explained, to standard output."""
    from maillog_forensics.daily.config import dump, read

    sys.stdout.write(dump(read(config) if config else None))


def schedule(
    kind: Annotated[str, typer.Argument(metavar="systemd|cron|windows", help="For which scheduler.")],
    config: ConfigFile,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Write the files there instead of showing them.")
    ] = None,
) -> None:
    """Show or write the schedule for a configuration: a hardened systemd service and timer, a line for cron, a Windows task."""
    from maillog_forensics import writers
    from maillog_forensics.daily import schedules
    from maillog_forensics.daily.config import read

    if kind not in schedules.KINDS:
        raise UsageError(f"{kind}: no scheduler that is known; write one of {', '.join(schedules.KINDS)}")
    for name, text in schedules.files(kind, read(config), config.absolute()).items():
        if output:
            writers.write_text(text, str(output / name))
            _note(f"{output / name}")
        else:
            typer.echo(f"# {name}\n{text}" if kind == "systemd" else text)


def register(app: typer.Typer) -> None:
    """Add these commands to the program's."""
    app.command("daily")(daily)
    app.command("schedule")(schedule)
    app.add_typer(archive, name="archive")
    app.add_typer(config, name="config")
