"""The whole report without a page: as plain text, as Markdown for a ticket, and the letter to the other postmaster."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from maillog_forensics import blocks, narrative, remedies, view
from maillog_forensics.blocks import Block, Heading, Items, Paragraph, Table, Verbatim
from maillog_forensics.diagram import PROOFS
from maillog_forensics.errors import UsageError
from maillog_forensics.figures import bytes_text, clock, plural, seconds_text
from maillog_forensics.findings import Evidence, Findings, Kind, Search, Suppressed
from maillog_forensics.language import ENGLISH, number, say, speaking, told
from maillog_forensics.text import visible
from maillog_forensics.view import Card, Page
from maillog_forensics.wording import headline_of, names

CAPS = view.Caps(evidence=12, text=1000)
_LOCAL = re.compile(r"([^\s<>()\[\],;:\"'=@])[^\s<>()\[\],;:\"'@]*@(?=[\w\[])")


def text(findings: Findings, *, lang: str = ENGLISH) -> str:
    """The report as plain text, for a terminal or a mail."""
    with speaking(lang, findings.sentences):
        return blocks.text(_report(view.page(findings, CAPS, print_variant=True)))


def markdown(findings: Findings, *, lang: str = ENGLISH) -> str:
    """The report as Markdown, for a ticket."""
    with speaking(lang, findings.sentences):
        return blocks.markdown(_report(view.page(findings, CAPS, print_variant=True)))


def letter(findings: Findings, id: str, *, masked: bool = True, lang: str = ENGLISH) -> str:
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
    with speaking(lang, findings.sentences):
        written = narrative.letter(found[0], remedies.cause_words(found[0].cause.id).told())
        if written is None:
            raise UsageError(
                f"--letter {id}: what is to mend lies on our side, or it was no alarm, so there is nobody to write to"
            )
        named = {a for m in found[0].members for a in (m, *found[0].aliases.get(m, ()))}
        body = [line if line.startswith("  <") or not masked else _masked(line, named) for line in written.lines]
        subject = say("Subject: %(subject)s", subject=written.subject)
        return blocks.text([Paragraph(subject), *(_line(line) for line in body)])


def _line(line: str) -> Block:
    return Verbatim((line.strip(),)) if line.startswith("  ") else Paragraph(line)


def _masked(line: str, named: Iterable[str]) -> str:
    """anna@alpha.example as a…@alpha.example; those that are named, whatever is in them, and all else that looks like one."""
    for address in sorted(named, key=len, reverse=True):
        local, _, domain = visible(address).rpartition("@")
        if local:
            line = line.replace(f"{local}@{domain}", f"{local[0]}…@{domain}")
    return _LOCAL.sub(lambda m: f"{m[1]}…@", line)


def _report(page: Page) -> Iterator[Block]:
    findings = page.findings
    run = findings.run
    yield Heading(1, page.title)
    head = [
        say("Mail incident report"),
        page.site or say("no host named"),
        page.period,
        f"maillog-forensics {run.version}",
        *([say("pseudonymised")] if run.pseudonymized else []),
    ]
    yield Paragraph(" · ".join(head))
    if not page.lead:
        yield Paragraph(say("Every line below was read, and every search was run to its end."))
    for card in page.cards:
        yield from _card(card, alone=len(page.cards) == 1)
    if page.others:
        yield Paragraph(_in_the_findings(len(page.others), "incident"))
    if findings.possible:
        yield Heading(2, say("Too weak for an alarm"))
        yield Items(tuple(headline_of(i) for i in findings.possible[:20]))
        if len(findings.possible) > 20:
            yield Paragraph(_in_the_findings(len(findings.possible) - 20, "incident"))
    if findings.suppressed:
        yield Heading(2, say("Left out on purpose"))
        yield Items(tuple(_suppressed(x) for x in findings.suppressed[:20]))
    if page.timeline:
        yield Heading(2, say("Timeline (UTC)"))
        yield Table(
            (say("Time"), say("Incident"), say("What")),
            tuple((clock(t.moment.time), str(t.ordinal), told(t.moment.words)) for t in page.timeline),
        )
    yield from _traffic(page)
    if page.actions:
        yield Heading(2, say("Actions"))
        yield Items(
            tuple(say("%(what)s (%(where)s); owner: ____ date: ____", what=what, where=where) for what, where in page.actions),
            to_do=True,
        )
    yield Heading(2, say("What was searched for"))
    yield Items(tuple(_search(s) for s in findings.searches) or (say("No search is named in this document."),))
    yield from _custody(page)
    yield Heading(2, say("What these logs cannot show"))
    last = say("A log that stops is not an end: what runs when the logs end is called running.")
    yield Items((*(told(sentence) for sentence in findings.limits[:60]), last))


def _in_the_findings(n: int, noun: str) -> str:
    """What is left out, and where it is."""
    return say("Left out here: %(what)s; all are in the findings file.", what=plural(n, noun))


def _suppressed(s: Suppressed) -> str:
    what = f"{plural(s.incidents, 'incident')}, {plural(s.messages, 'message')}"
    return say(
        "%(who)s: %(what)s (%(reason)s; until %(date)s)",
        who=names(s.members),
        what=what,
        reason=s.reason,
        date=s.expires.isoformat(),
    )


def _search(s: Search) -> str:
    looked = say("%(what)s: %(n)s looked at, %(found)s found", what=told(s.detector), n=s.candidates, found=s.found)
    aside = (say("%(n)s set aside as %(what)s", n=n, what=told(name)) for name, n in s.set_aside.items())
    return "; ".join([looked, *aside])


def _card(card: Card, *, alone: bool) -> Iterator[Block]:
    i = card.incident
    if not alone:
        yield Heading(2, f"{card.ordinal}. {card.headline}")
    severity = say(narrative.SEVERITIES[card.severity])
    yield Paragraph(f"{card.state_words} · {severity} · {card.type_words} · {card.confidence} · id {i.id}")
    yield Paragraph("".join(say("Probably: %(what)s", what=p.text) if p.kind == "inferred" else p.text for p in card.lede))
    yield Items(tuple(f"{f.value} {f.words}" for f in card.figures))
    if i.arrows:
        yield Heading(3, say("Who answers whom"))
        yield Table(
            (say("From"), say("To"), say("Messages"), say("Later by (median)"), say("Program"), say("Proof")),
            tuple(
                (
                    a.origin,
                    a.target,
                    number(a.messages),
                    seconds_text(a.median_lag_s) if a.median_lag_s is not None else "-",
                    a.program or "-",
                    say(PROOFS[a.proof]),
                )
                for a in i.arrows[: CAPS.members]
            ),
        )
    if i.kind is Kind.NDR_STORM:
        yield Heading(3, say("Where the notifications come from, and why"))
        yield Items(
            (
                *(f"{host}: {plural(n, 'notification')}" for host, n in list(i.origins.items())[:20]),
                *(f"{code}: {plural(n, 'notification')}" for code, n in list(i.codes.items())[:20]),
            )
            or (say("neither origins nor status codes are in these logs"),)
        )
    yield Heading(3, say("Probable cause, and the side to mend"))
    yield Paragraph(f"{card.cause.title}. {card.cause.explanation}")
    yield Items(
        (
            say("Side to mend: %(side)s", side=card.side),
            say("What should change: %(mend)s", mend=card.cause.mend),
            *([say("The rule: %(rule)s", rule=card.cause.rule)] * bool(card.cause.rule)),
        )
    )
    yield Heading(3, say("Why it was flagged, and how sure that is"))
    speaks_for, speaks_against = say("for"), say("against")
    ruled_out, open_still = say("Ruled out"), say("Not ruled out")
    yield Items(
        (
            *(f"{speaks_for if f.supports else speaks_against}: {told(f.words)}" for f in i.confidence.factors[:20]),
            *(f"{ruled_out if a.ruled_out else open_still}: {told(a.name)}, {told(a.reason)}" for a in i.look_alikes[:12]),
        )
        or (card.confidence,)
    )
    yield Heading(3, say("Harm"))
    yield Items(tuple(f"{what}: {value}" for what, value in card.harm))
    yield from _to_type(card)
    if i.evidence:
        shown = number(min(len(i.evidence), CAPS.evidence))
        yield Heading(3, say("Evidence (%(n)s of %(all)s)", n=shown, all=plural(i.evidence_total, "line")))
        yield Verbatim(tuple(line for e in i.evidence[: CAPS.evidence] for line in _evidence(e)))


def _to_type(card: Card) -> Iterator[Block]:
    now = say("What to type now") if card.state == "running" else say("What to type if it starts again")
    for title, found in ((now, card.now), (say("So that it does not come back"), card.lasting)):
        if found:
            yield Heading(3, say("%(title)s (printed, never run)", title=title))
        for r in found:
            where = f"{r.mta}, {r.host}" if r.host else r.mta
            words = [f"{where}: {told(r.title)}."]
            words += [say("%(messages)s touched.", messages=plural(r.touches, "message"))] if r.touches is not None else []
            words += [say("Mind: %(warning)s", warning=told(r.warning))] if r.warning else []
            yield Paragraph(" ".join(words))
            language = "powershell" if r.mta == "Exchange" else "sh" if r.when == "now" else ""
            yield Verbatim(tuple(r.commands.split("\n")), language)


def _evidence(e: Evidence) -> tuple[str, str]:
    note = f" ({visible(told(e.note), 200)})" if e.note else ""
    return f"{visible(e.source, 400)}:{e.line} @{e.offset}{note}", "  " + e.text[: CAPS.text]


def _traffic(page: Page) -> Iterator[Block]:
    t = page.findings.traffic
    yield Heading(2, say("All mail in these logs"))
    counts = (
        plural(t.messages, "message"),
        plural(t.deliveries, "delivery"),
        say("%(n)s bounced", n=t.bounced),
        say("%(n)s deferred", n=t.deferred),
        say("%(n)s refused at the door", n=t.rejected),
        plural(t.notifications, "notification"),
        plural(t.mailboxes, "mailbox"),
    )
    yield Paragraph(", ".join(counts) + ".")
    yield Paragraph(" · ".join(p.text for p in page.trust))


def _custody(page: Page) -> Iterator[Block]:
    findings = page.findings
    yield Heading(2, say("Chain of custody"))
    unpacked = say("decompressed")
    for f in findings.inputs[:200]:
        span = f"{clock(f.first)} – {clock(f.last)} UTC" if f.first and f.last else say("no dated line")
        ledger = say(
            "%(lines)s = %(parsed)s understood + %(ignored)s known and ignored + %(unrecognised)s not understood + %(damaged)s damaged",
            lines=plural(f.lines, "line"),
            parsed=f.parsed,
            ignored=f.ignored,
            unrecognised=f.unrecognised,
            damaged=f.damaged,
        )
        basis = say("zone %(zone)s: %(why)s; year: %(year)s", zone=told(f.zone), why=told(f.zone_basis), year=told(f.year_basis))
        yield Items(
            (
                f"{f.path}: {f.format}, {bytes_text(f.bytes)}, {ledger}; {span}; {basis}",
                f"sha256 {f.sha256}" + (f", {unpacked} {f.decompressed_sha256}" if f.decompressed_sha256 != f.sha256 else ""),
                *(told(p) for p in f.problems[:10]),
            )
        )
    if len(findings.inputs) > 200:
        yield Paragraph(_in_the_findings(len(findings.inputs) - 200, "file"))
    run = findings.run
    settings = ", ".join(f"{k} {v}" for k, v in run.parameters.items() if v is not None) or say("none changed")
    made = [say("Settings: %(settings)s", settings=settings)]
    if run.command:
        made.insert(0, say("Command: %(command)s", command=run.command))
    if run.started_at:
        made.append(say("Run: %(time)s UTC, %(seconds)s", time=clock(run.started_at), seconds=seconds_text(run.elapsed_s)))
    if run.pseudonymized:
        key = run.key_fingerprint or say("not named")
        made.append(say("Pseudonyms under the key with the fingerprint %(key)s", key=key))
    if run.redacted:
        made.append(say("Left out: %(kinds)s", kinds=", ".join(run.redacted)))
    yield Items(tuple(made))
