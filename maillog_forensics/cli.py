"""The command line: words and progress to stderr, data to stdout. Every heavy import waits until a command needs it."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from maillog_forensics import commands_daily, commands_formats
from maillog_forensics.commands_formats import Parsers
from maillog_forensics.errors import MaillogForensicsError, NoInputError, UsageError

if TYPE_CHECKING:
    from maillog_forensics.api import Analysis


class _Commands(typer.core.TyperGroup):
    """Commands whose reader may have enough before they end: what is still buffered goes nowhere, silently."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        return result


app = typer.Typer(
    cls=_Commands,
    name="maillog-forensics",
    help="Finds mail loops and NDR storms in Postfix, Exim and Exchange logs, and writes the incident report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)


def _version(wanted: bool) -> None:
    if wanted:
        from maillog_forensics import __version__

        typer.echo(f"maillog-forensics {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Finds mail loops and NDR storms in Postfix, Exim and Exchange logs, and writes the incident report."""


Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Log files, directories, globs, s3://bucket/prefix, or - for standard input."),
]
Tz = Annotated[str | None, typer.Option("--tz", metavar="ZONE", help="Zone of stamps that carry none: Asia/Manila, +08:00.")]
Year = Annotated[int | None, typer.Option("--year", min=1980, max=2199, help="Year of the last line, where stamps carry none.")]
Format = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="Read every file as this format (see 'formats list').")
]
Pseudonymize = Annotated[
    bool, typer.Option("--pseudonymize", help="Pseudonyms for mailboxes, hosts and IP addresses, consistent under one key.")
]
Redact = Annotated[
    str | None,
    typer.Option("--redact", metavar="KINDS", help="Leave out: subject,local-part,host,ip,message-id,evidence (one or more)."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help="Key of the pseudonyms; without it a fresh one that nobody keeps."),
]

Lang = Annotated[str, typer.Option("--lang", metavar="CODE", help="Language of the report: en, fil (see reports/locale).")]


SummaryFile = Annotated[
    str | None, typer.Option("--summary", metavar="FILE.json", help="Write what this run read, found and wrote, for programs.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 4 when an input was damaged or unreadable.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No summary and no progress.")]


@app.command()
def analyze(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Log files, directories, globs, s3://bucket/prefix, or - for standard input."),
    ] = None,
    archive: Annotated[
        Path | None, typer.Option("--archive", metavar="DIR", help="Look at what 'daily' has archived there, instead of logs.")
    ] = None,
    report: Annotated[
        str | None, typer.Option("--report", metavar="FILE.html", help="Write the incident report (.html; also .md, .txt).")
    ] = None,
    findings: Annotated[
        str | None,
        typer.Option("--findings", metavar="FILE.json", help="Write everything found as JSON (- for standard output)."),
    ] = None,
    events: Annotated[str | None, typer.Option("--events", metavar="FILE.parquet", help="Write the events table.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Look only at events from this time (ISO 8601; UTC unless it says).")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Look only at events up to this time.")] = None,
    tz: Tz = None,
    year: Year = None,
    format: Format = None,
    parsers: Parsers = None,
    window: Annotated[
        str, typer.Option(metavar="4h", help="Longest gap between a message and the answer to it (90s, 30m, 4h, 1d).")
    ] = "4h",
    fail_on: Annotated[
        str | None, typer.Option("--fail-on", metavar="loop,storm", help="Exit with 10 when such an incident is found.")
    ] = None,
    allow: Annotated[
        Path | None, typer.Option("--allow", metavar="FILE.toml", help="Known-good pairs, with reason and expiry.")
    ] = None,
    pseudonymize: Pseudonymize = False,
    redact: Redact = None,
    key_file: KeyFile = None,
    lang: Lang = "en",
    unrecognised: Annotated[
        Path | None, typer.Option("--unrecognised", metavar="FILE", help="Write the lines that nothing knows.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory",
            metavar="SIZE",
            help="Memory to stay near until the search begins (500M, 2G); more goes to temporary files.",
        ),
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Tell where the time went, stage by stage.")] = False,
    summary: SummaryFile = None,
    engine: Annotated[
        str, typer.Option("--engine", metavar="NAME", help="Who does the work: local, or spark (a cluster).")
    ] = "local",
    master: Annotated[
        str | None,
        typer.Option("--master", metavar="URL", help="With --engine spark: spark://host:7077, yarn, k8s://…, local[4]."),
    ] = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Find mail loops and NDR storms in logs, and write the incident report."""
    from maillog_forensics import engines, masking, rendering, run_summary, timing, writers
    from maillog_forensics.api import analyze as run
    from maillog_forensics.language import language
    from maillog_forensics.options import duration_s, kinds, size_bytes, span
    from maillog_forensics.progress import Progress

    wanted = kinds(fail_on)
    language(lang)  # an unknown one is told before the work, not after it
    masked = masking.wanted(pseudonymize, redact, key_file)
    if bool(paths) == bool(archive):
        raise UsageError(
            "analyze needs either logs or an archive: maillog-forensics analyze /var/log/mail.log, or analyze --archive DIR"
        )
    if events:
        writers.Output(events).check()
    for option, place, endings in (
        ("--findings", findings, (".json",)),
        ("--report", report, rendering.ENDINGS),
        ("--summary", summary, (".json",)),
    ):
        if place:
            writers.check_place(place)
            writers.check_name(place, option, *endings)
    writers.check_no_input(paths or [], findings, report, summary, events, str(unrecognised or ""))
    begin, end = span(since, until)
    with run_summary.Watch(summary, _command()) as watch:
        with Progress(quiet) as bar, writers.strange_lines(unrecognised) as strange:
            result = (
                _archived(archive, begin, end, window, allow, events is not None)
                if archive
                else run(
                    paths or [],
                    tz=tz,
                    year=year,
                    format=format,
                    parsers=parsers,
                    since=begin,
                    until=end,
                    window_s=duration_s(window, "--window"),
                    allow=allow,
                    command=_command(),
                    progress=bar.step,
                    on_unrecognised=strange,
                    keep_events=events is not None,
                    memory_bytes=size_bytes(memory, "--memory"),
                    engine=engines.chosen(engine, master),
                )
            )
        found = result.findings
        watch.read(list(found.inputs), result.problems)
        watch.found(found)
        _tell(watch.problems)
        watch.need_mail()
        if masked:
            found = masking.mask(found, masked)
        if events:
            watch.wrote(*writers.write_events(result.events, events))
        if findings:
            from maillog_forensics.findings import write

            writers.write_text(write(found), findings)
            watch.wrote(findings)
        if report:
            with timing.stage("report"):
                writers.write_text(rendering.rendered(found, rendering.ending(report) or ".html", lang=lang), report)
            watch.wrote(report)
        if profile:
            typer.echo(timing.told(), err=True)
        if not quiet:
            from maillog_forensics.terminal import summary as in_words

            typer.echo(in_words(found, lang=lang), err="-" in (findings, report))
            if report and report != "-":
                _tell([f"Report: {report}"])
        if any(i.kind.value in wanted and i.severity.value != "info" for i in found.incidents):
            watch.leave(10)
        if strict and watch.is_damaged:
            watch.leave(4)


def _archived(
    archive: Path, since: dt.datetime | None, until: dt.datetime | None, window: str, allow: Path | None, keep_events: bool
) -> Analysis:
    """What `analyze` finds in an archive."""
    from maillog_forensics.archive.looking import analyze as run
    from maillog_forensics.options import duration_s

    return run(
        archive,
        since=since,
        until=until,
        window_s=duration_s(window, "--window"),
        allow=allow,
        command=_command(),
        keep_events=keep_events,
    )


@app.command()
def trace(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH... ID_OR_ADDRESS", help="Logs, then a queue id, a Message-ID or an address.")
    ],
    related: Annotated[bool, typer.Option("--related", help="Also what they caused and what they answer.")] = False,
    lines: Annotated[bool, typer.Option("--lines", help="Show the log lines of each message.")] = False,
    tz: Tz = None,
    year: Year = None,
    format: Format = None,
    parsers: Parsers = None,
) -> None:
    """Follow a message, or an address, over hosts and mail servers."""
    from maillog_forensics import trace as tracing
    from maillog_forensics.api import correlate as run
    from maillog_forensics.api import spooled

    if len(paths) < 2:
        raise UsageError("trace needs logs and what to look for: maillog-forensics trace /var/log/mail.log 4F1C2A0D31")
    with spooled(paths[:-1]) as (real, shown):
        mail, problems = run(real, tz=tz, year=year, format=format, parsers=parsers, shown=shown)
        _tell(problems)
        found = tracing.find(mail, paths[-1], related=related)
        if not found.groups:
            raise NoInputError(f"no message in these logs has the queue id, Message-ID or address {paths[-1]}")
        opened = {name: path for path, name in shown.items()}
        sys.stdout.write(tracing.tell(mail, found, raw=tracing.raw_lines(mail, found, opened) if lines else None))


@app.command()
def render(
    findings: Annotated[
        Path, typer.Argument(metavar="FINDINGS.json", help="A findings file, as 'analyze --findings' writes it.")
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="REPORT.html",
            help="What to write: .html, .md (for a ticket), .txt, .json or .ocsf.json (OCSF).",
        ),
    ],
    print_variant: Annotated[bool, typer.Option("--print", help="Everything unfolded, for paper.")] = False,
    letter: Annotated[
        str | None, typer.Option("--letter", metavar="ID", help="Only the letter about this incident to the other postmaster.")
    ] = None,
    unmasked: Annotated[bool, typer.Option("--unmasked", help="With --letter: whole addresses in it.")] = False,
    pseudonymize: Pseudonymize = False,
    redact: Redact = None,
    key_file: KeyFile = None,
    lang: Lang = "en",
) -> None:
    """Make the report again from a findings file, as a page, Markdown or text; the logs are not needed."""
    from maillog_forensics import masking, writers
    from maillog_forensics.findings import read
    from maillog_forensics.rendering import ending, rendered

    masked = masking.wanted(pseudonymize, redact, key_file)
    writers.check_no_input([str(findings)], output)
    document = read(str(findings))
    if masked:
        document = masking.mask(document, masked)
    if letter:
        from maillog_forensics.plain import letter as write_letter

        writers.write_text(write_letter(document, letter, masked=not unmasked, lang=lang), output)
        return
    writers.write_text(rendered(document, ending(output), print_variant=print_variant, lang=lang), output)


@app.command()
def explain(
    findings: Annotated[
        Path, typer.Argument(metavar="FINDINGS.json", help="A findings file, as 'analyze --findings' writes it.")
    ],
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of an incident, or its beginning.")],
) -> None:
    """Show why an incident was claimed: values, thresholds, evidence, and what it is not."""
    from maillog_forensics.explaining import explain as run
    from maillog_forensics.findings import read

    sys.stdout.write(run(read(str(findings)), id))


@app.command()
def normalize(
    paths: Paths,
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="FILE", help=".parquet, .arrow, .jsonl, .csv, a folder, s3://…; - for standard output."
        ),
    ],
    schema: Annotated[
        str, typer.Option("--schema", metavar="NAME", help="Whose words: native, ecs, ocsf or timesketch.")
    ] = "native",
    to: Annotated[
        str | None, typer.Option("--to", metavar="KIND", help="parquet, arrow, jsonl or csv, where the name does not tell.")
    ] = None,
    partition_by: Annotated[
        str | None, typer.Option("--partition-by", metavar="day,host", help="A file for each day, host or both, in a folder.")
    ] = None,
    unrecognised: Annotated[
        Path | None, typer.Option("--unrecognised", metavar="FILE", help="Write the lines that nothing knows.")
    ] = None,
    summary: SummaryFile = None,
    tz: Tz = None,
    year: Year = None,
    format: Format = None,
    parsers: Parsers = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Read logs and write the events table."""
    from maillog_forensics import run_summary, writers
    from maillog_forensics.api import input_of
    from maillog_forensics.api import normalize as run
    from maillog_forensics.options import names
    from maillog_forensics.progress import Progress

    wanted = writers.Output(output, schema, to, names(partition_by))
    wanted.check()
    if summary:
        writers.check_place(summary)
        writers.check_name(summary, "--summary", ".json")
    writers.check_no_input(paths, output, summary, str(unrecognised or ""))
    with (
        run_summary.Watch(summary, _command()) as watch,
        writers.strange_lines(unrecognised) as strange,
        Progress(quiet) as bar,
    ):
        found = run(paths, tz=tz, year=year, format=format, parsers=parsers, on_unrecognised=strange, progress=bar.step)

        def finished() -> str:
            """Before anything appears under its final name: a run without mail leaves nothing there."""
            watch.read([input_of(r) for r in found.reports], found.problems, sum(r.events for r in found.reports))
            _tell(watch.problems)
            watch.need_mail()
            return watch.name_of_inputs()

        watch.wrote(*writers.write_events(found.events, wanted, finish=finished))
        if strict and watch.is_damaged:
            watch.leave(4)


commands_formats.register(app)
commands_daily.register(app)


def _command() -> str:
    import shlex

    from maillog_forensics.logfiles import label

    return shlex.join(["maillog-forensics", *map(label, sys.argv[1:])])


def _tell(sentences: Iterable[str]) -> None:
    from maillog_forensics.text import visible

    for sentence in sentences:
        typer.echo(visible(sentence), err=True)


def main() -> None:
    """Entry point: exceptions of our own become one sentence and an exit code."""
    try:
        app(prog_name="maillog-forensics")
    except MaillogForensicsError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(sentences: str, code: int) -> None:
    """One sentence on each line: a configuration may have several faults."""
    _tell(f"maillog-forensics: {sentence}" for sentence in sentences.split("\n"))
    raise SystemExit(code)
