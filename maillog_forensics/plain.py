"""The whole report without a page: as plain text, as Markdown for a ticket, and the letter to the other postmaster."""

from __future__ import annotations

import re
from collections.abc import Iterator

from maillog_forensics import blocks, figures, narrative, remedies, view
from maillog_forensics.blocks import Block, Heading, Items, Paragraph, Table, Verbatim
from maillog_forensics.diagram import PROOFS
from maillog_forensics.errors import UsageError
from maillog_forensics.figures import bytes_text, clock, number, plural, seconds_text
from maillog_forensics.findings import Evidence, Findings, Kind
from maillog_forensics.view import Card, Page

CAPS = view.Caps(evidence=12, text=1000)
_LOCAL = re.compile(r"([^\s<>()\[\],;:\"'=@])[^\s<>()\[\],;:\"'@]*@(?=[\w\[])")


def text(findings: Findings) -> str:
    """The report as plain text, for a terminal or a mail."""
    return blocks.text(_report(view.page(findings, CAPS, print_variant=True)))


def markdown(findings: Findings) -> str:
    """The report as Markdown, for a ticket."""
    return blocks.markdown(_report(view.page(findings, CAPS, print_variant=True)))


def letter(findings: Findings, id: str, *, masked: bool = True) -> str:
    """The letter about one incident to the other side's postmaster, as plain text.

    Parameters
    ----------
    id
        Of the incident, or its beginning.
    masked
        Of each local part only the first character is written, subjects not at all. Domains, times and Message-IDs
        stay: without them the other side can't find the messages.

    Raises
    ------
    UsageError
        Where there is no such incident, or nobody to write to.
    """
    found = [i for i in (*findings.incidents, *findings.possible) if i.id.startswith(id)]
    if len(found) != 1:
        known = ", ".join(i.id for i in findings.incidents[:10]) or "none"
        raise UsageError(
            f"--letter {id}: {'no incident' if not found else 'more than one incident'} begins so; there are: {known}"
        )
    written = narrative.letter(found[0], remedies.cause_words(found[0].cause.id))
    if written is None:
        raise UsageError(f"--letter {id}: what is to mend lies on our side, or it was no alarm, so there is nobody to write to")
    body = [line if line.startswith("  <") or not masked else _masked(line) for line in written.lines]
    return blocks.text([Paragraph(f"Subject: {written.subject}"), *(_line(line) for line in body)])


def _line(line: str) -> Block:
    return Verbatim((line.strip(),)) if line.startswith("  ") else Paragraph(line)


def _masked(line: str) -> str:
    """anna@alpha.example as a…@alpha.example."""
    return _LOCAL.sub(lambda m: f"{m[1]}…@", line)


def _report(page: Page) -> Iterator[Block]:
    findings = page.findings
    run = findings.run
    yield Heading(1, page.title)
    masked = " · pseudonymised" if run.pseudonymized else ""
    yield Paragraph(
        f"Mail incident report · {page.site or 'no host named'} · {page.period} · maillog-forensics {run.version}{masked}"
    )
    if not page.lead:
        yield Paragraph("Every line was read, and every search was run to its end.")
    for card in page.cards:
        yield from _card(card, alone=len(page.cards) == 1)
    if page.others:
        yield Paragraph(f"{plural(len(page.others), 'further incident')} without a section here; all are in the findings file.")
    if findings.possible:
        yield Heading(2, "Too weak for an alarm")
        yield Items(tuple(i.headline for i in findings.possible[:20]))
        if len(findings.possible) > 20:
            yield Paragraph(f"{plural(len(findings.possible) - 20, 'further pattern')} in the findings file.")
    if page.timeline:
        yield Heading(2, "Timeline (UTC)")
        yield Table(
            ("Time", "Incident", "What"), tuple((clock(t.moment.time), str(t.ordinal), t.moment.words) for t in page.timeline)
        )
    yield from _traffic(page)
    if page.actions:
        yield Heading(2, "Actions")
        yield Items(tuple(f"{what} ({where}); owner: ____ date: ____" for what, where in page.actions), to_do=True)
    yield Heading(2, "What was searched for")
    yield Items(
        tuple(
            f"{s.detector}: {number(s.candidates)} looked at, {number(s.found)} found"
            + "".join(f"; {number(n)} set aside as {name}" for name, n in s.set_aside.items())
            for s in findings.searches
        )
        or ("no search is named in this document",)
    )
    yield from _custody(page)
    yield Heading(2, "What these logs cannot show")
    yield Items((*findings.limits[:60], "A log that stops is not an end: what runs when the logs end is called running."))


def _card(card: Card, *, alone: bool) -> Iterator[Block]:
    i = card.incident
    if not alone:
        yield Heading(2, f"{card.ordinal}. {i.headline}")
    yield Paragraph(f"{card.state_words} · {card.severity} · {card.type_words} · {card.confidence} · id {i.id}")
    yield Paragraph("".join(f"Probably: {p.text}" if p.kind == "inferred" else p.text for p in card.lede))
    yield Items(tuple(f"{f.value} {f.words}" for f in card.figures))
    if i.arrows:
        yield Heading(3, "Who answers whom")
        yield Table(
            ("From", "To", "Messages", "Later by", "Program", "Proof"),
            tuple(
                (
                    a.origin,
                    a.target,
                    number(a.messages),
                    seconds_text(a.median_lag_s) if a.median_lag_s is not None else "-",
                    a.program or "-",
                    PROOFS[a.proof],
                )
                for a in i.arrows[: CAPS.members]
            ),
        )
    if i.kind is Kind.NDR_STORM:
        yield Heading(3, "Where the notifications come from, and why")
        yield Items(
            (
                *(f"{host}: {plural(n, 'notification')}" for host, n in list(i.origins.items())[:20]),
                *(f"status {code}: {plural(n, 'notification')}" for code, n in list(i.codes.items())[:20]),
            )
            or ("neither origins nor status codes are in these logs",)
        )
    yield Heading(3, "Probable cause")
    yield Paragraph(f"{card.cause.title}. {card.cause.explanation}")
    yield Items(
        (
            f"Side to mend: {card.side}",
            f"What to change: {card.cause.mend}",
            *([f"Rule: {card.cause.rule}"] * bool(card.cause.rule)),
        )
    )
    yield Heading(3, "Why it was flagged")
    yield Items(
        (
            *(f"{'for' if f.supports else 'against'}: {f.words}" for f in i.confidence.factors[:20]),
            *(f"{'ruled out' if a.ruled_out else 'not ruled out'}: {a.name}, {a.reason}" for a in i.look_alikes[:12]),
        )
        or (card.confidence,)
    )
    yield Heading(3, "What it did")
    yield Items(tuple(f"{what}: {value}" for what, value in card.harm))
    for title, found in (
        ("What to type now" if card.state == "running" else "What to type if it starts again", card.now),
        ("So that it does not come back", card.lasting),
    ):
        if found:
            yield Heading(3, f"{title} (printed, never run)")
        for r in found:
            touched = f" {plural(r.touches, 'message')} touched." if r.touches is not None else ""
            yield Paragraph(f"{r.mta}: {r.title}.{touched}{f' Mind: {r.warning}' if r.warning else ''}")
            yield Verbatim(
                tuple(r.commands.split("\n")), "powershell" if r.mta == "Exchange" else "sh" if r.when == "now" else ""
            )
    if i.evidence:
        yield Heading(3, f"Evidence ({number(min(len(i.evidence), CAPS.evidence))} of {plural(i.evidence_total, 'line')})")
        yield Verbatim(tuple(line for e in i.evidence[: CAPS.evidence] for line in _evidence(e)))


def _evidence(e: Evidence) -> tuple[str, str]:
    return f"{e.source}:{e.line} @{e.offset}{f' ({e.note})' if e.note else ''}", "  " + e.text[: CAPS.text]


def _traffic(page: Page) -> Iterator[Block]:
    t = page.findings.traffic
    yield Heading(2, "All mail in these logs")
    yield Paragraph(
        f"{plural(t.messages, 'message')}, {plural(t.deliveries, 'delivery', 'deliveries')}, {number(t.bounced)} bounced, "
        f"{number(t.deferred)} deferred, {number(t.rejected)} refused at the door, {plural(t.notifications, 'notification')}, "
        f"{plural(t.mailboxes, 'mailbox', 'mailboxes')}."
    )
    yield Paragraph(" · ".join(p.text for p in page.trust))


def _custody(page: Page) -> Iterator[Block]:
    findings = page.findings
    yield Heading(2, "Chain of custody")
    for f in findings.inputs[:200]:
        span = f"{clock(f.first)} to {clock(f.last)} UTC" if f.first and f.last else "no dated line"
        yield Items(
            (
                f"{f.path}: {f.format}, {bytes_text(f.bytes)}, {plural(f.lines, 'line')} = {number(f.parsed)} understood + "
                f"{number(f.ignored)} known and ignored + {number(f.unrecognised)} not understood + {number(f.damaged)} damaged; "
                f"{span}; zone {f.zone}: {f.zone_basis}; year: {f.year_basis}",
                f"sha256 {f.sha256}" + (f", decompressed {f.decompressed_sha256}" if f.decompressed_sha256 != f.sha256 else ""),
                *f.problems[:10],
            )
        )
    if len(findings.inputs) > 200:
        yield Paragraph(f"{plural(len(findings.inputs) - 200, 'further file')} in the findings file.")
    run = findings.run
    settings = ", ".join(f"{k} {v}" for k, v in run.parameters.items() if v is not None) or "none changed"
    yield Items(
        (
            *([f"Command: {run.command}"] * bool(run.command)),
            f"Settings: {settings}",
            *([f"Run: {clock(run.started_at)} UTC, {figures.seconds_text(run.elapsed_s)}"] if run.started_at else []),
            *(
                [f"Pseudonyms under the key with the fingerprint {run.key_fingerprint or 'not named'}"]
                if run.pseudonymized
                else []
            ),
            *([f"Left out: {', '.join(run.redacted)}"] if run.redacted else []),
        )
    )
