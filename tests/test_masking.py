"""Pseudonyms are consistent and complete: nothing of the input's addresses survives, and the structure does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from maillog_forensics import api, masking, report, terminal
from maillog_forensics.errors import UsageError
from maillog_forensics.findings import Findings, write
from maillog_forensics.pseudonyms import Counted, Keyed, Mixed, Unchanged
from tests.documents import DOCUMENTS, document, evidence, two_parties

KEY = masking.Masking(b"0123456789abcdef")
SAMPLES = Path(__file__).parents[1] / "sample_logs"
WORDING = "".join(p.read_text("utf-8") for p in (SAMPLES.parent / "reports").rglob("*") if p.suffix in (".toml", ".j2", ".css"))
ADDRESS = re.compile(r"[\w.+=#-]+@(?:[\w-]+\.)+[a-z]+", re.IGNORECASE)


def renderings(findings: Findings) -> dict[str, str]:
    """Everything that the program writes of a document."""
    return {"json": write(findings), "html": report.render(findings), "summary": terminal.summary(findings)}


def names_of(findings: Findings) -> set[str]:
    """Addresses, domains and hosts of a document, in small letters."""
    bare = [
        i.model_copy(update={"remedies": ()}) for i in (*findings.incidents, *findings.possible)
    ]  # examples in recipes are ours
    out = {a.lower() for a in ADDRESS.findall(write(findings.model_copy(update={"incidents": tuple(bare), "possible": ()})))}
    out |= {a.rpartition("@")[2] for a in out}
    return out | {h.lower() for i in findings.incidents for h in i.hosts}


def survivors(before: Findings, after: Findings) -> list[tuple[str, str]]:
    """Names of the one document in what is written of the other."""
    names = names_of(before)
    usual = set(re.findall(r"[a-z]{4,}", WORDING.lower())) | masking._GENERIC
    locals_ = {a.partition("@")[0] for a in names if "@" in a}
    names = names - masking._GENERIC | {n for n in locals_ if len(n) > 3 and n not in usual and not n.isdigit()}
    texts = {kind: text.lower() for kind, text in renderings(after).items()}
    return [
        (kind, n)
        for kind, text in texts.items()
        for n in sorted(names)
        if len(n) > 2 and re.search(rf"(?<![\w.-]){re.escape(n)}(?![\w-])", text)
    ]


@pytest.mark.parametrize(
    "name", ["two_parties", "ring_of_six", "list_loop", "notification", "storm", "between_servers", "several"]
)
def test_no_name_of_the_document_survives(name: str) -> None:
    before = DOCUMENTS[name]()
    assert not survivors(before, masking.mask(before, KEY))


@pytest.mark.parametrize("folder", sorted(p.name for p in SAMPLES.iterdir() if p.is_dir()))
def test_no_name_of_real_logs_survives(folder: str) -> None:
    before = api.analyze([str(SAMPLES / folder)]).findings
    assert not survivors(before, masking.mask(before, KEY))


def test_hostile_addresses_do_not_survive_in_pieces() -> None:
    before = DOCUMENTS["hostile"]()
    after = masking.mask(before, KEY)
    text = "".join(i.model_dump_json() for i in after.incidents)  # that document has attacks in every other field too
    for member in before.incidents[0].members:
        assert member.rpartition("@")[0] not in text or len(member.rpartition("@")[0]) < 4, member


def test_structure_stays() -> None:
    before = DOCUMENTS["several"]()
    after = masking.mask(before, KEY)
    assert len(after.incidents) == len(before.incidents)
    for old, new in zip(before.incidents, after.incidents):
        assert (old.messages, old.started, old.turns, old.severity) == (new.messages, new.started, new.turns, new.severity)
        assert len(set(new.members)) == len(set(old.members)) and len(set(new.hosts)) == len(set(old.hosts))
        assert all(a.origin in new.members for a, b in zip(new.arrows, old.arrows) if b.origin in old.members)
        assert all(m.endswith("." + o.rpartition(".")[2]) for m, o in zip(new.members, old.members))
        assert new.cause.id == old.cause.id
    assert after.run.pseudonymized and after.run.key_fingerprint == Keyed(b"0123456789abcdef").fingerprint


def test_the_same_key_makes_the_same_pseudonyms_and_another_does_not() -> None:
    before = DOCUMENTS["two_parties"]()
    assert masking.mask(before, KEY) == masking.mask(before, KEY)
    assert masking.mask(before, KEY).incidents[0].members != masking.mask(before, masking.Masking(b"x" * 32)).incidents[0].members
    assert masking.mask(before, KEY).incidents[0].id != before.incidents[0].id, "an id without a key could be tried out"


def test_a_name_is_one_pseudonym_wherever_it_stands() -> None:
    line = 'Mar  5 12:00:00 EX01 x[1]: from=<Anna@alpha.example>, anna: "Re: Anna" SRS0=ab=cd=beta.example=anna@mx.beta.example [192.0.2.7]'
    incident = two_parties(
        hosts=("EX01",), evidence=(evidence(1, line),), headline="anna@alpha.example and bob@beta.example answered each other."
    )
    new = masking.mask(document(incident), KEY).incidents[0]
    (anna, alpha), (_, beta) = (m.split("@") for m in new.members)
    text = new.evidence[0].text
    assert f"<{anna}@{alpha}>" in text and f'{anna}: "Re: {anna}"' in text and f"={beta}={anna}@" in text
    assert new.hosts[0] in text and "192.0.2.7" not in text and text.startswith("Mar  5 12:00:00 n")
    assert new.headline == f"{new.members[0]} and {new.members[1]} answered each other."


def test_our_own_words_and_files_stay() -> None:
    after = masking.mask(DOCUMENTS["two_parties"](), KEY)
    commands = "\n".join(r.commands for r in after.incidents[0].remedies)
    assert "main.cf" in commands and "postsuper -h" in commands
    assert after.inputs[0].path == "/var/log/mail.log"
    assert "5.7.1" in write(after) or "4.7.1" in write(after) or "5.1.1" in write(DOCUMENTS["storm"]())


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("192.0.2.7", "192.0.2.9", 3),
        ("10.1.2.3", "10.1.9.9", 2),
        ("2001:db8:1::5", "2001:db8:1::9", 5),
        ("8.8.8.8", "8.8.4.4", 2),
    ],
)
def test_neighbours_in_a_network_stay_neighbours(one: str, other: str, alike: int) -> None:
    a, b = (re.split(r"[.:]", Keyed(b"k" * 32).ip(x)) for x in (one, other))
    assert a[:alike] == b[:alike] and a[alike:] != b[alike:] and ".".join(a) != one


def test_no_two_addresses_of_a_network_meet() -> None:
    assert len({Keyed(b"k" * 32).ip(f"192.0.2.{n}") for n in range(256)}) == 256


def test_the_own_machine_and_the_postmaster_stay() -> None:
    namer = Mixed(Keyed(b"k"), Keyed(b"k"), Keyed(b"k"))
    assert namer.ip("127.0.0.1") == "127.0.0.1" and namer.host("localhost") == "localhost"
    assert namer.mailbox("postmaster@a.example").startswith("postmaster@n")
    assert namer.local("list-bounces") == namer.local("list") + "-bounces"
    assert namer.local("anna+tag").startswith(namer.local("anna") + "+")


def test_redaction_leaves_out_what_it_names_and_nothing_else() -> None:
    incident = two_parties(
        evidence=(evidence(1, 'x <= anna@alpha.example H=mx [192.0.2.7] T="Holiday \\" at last" from <anna@alpha.example>'),)
    )
    before = document(incident)
    subjectless = masking.mask(before, masking.Masking(redact=("subject",)))
    assert "Holiday" not in write(subjectless) and "anna@alpha.example" in write(subjectless)
    assert subjectless.run.redacted == ("subject",) and not subjectless.run.pseudonymized
    boxless = masking.mask(before, masking.Masking(redact=("local-part", "ip")))
    assert (
        "anna" not in write(boxless)
        and re.search(r"mailbox[12]@alpha\.example", write(boxless))
        and "192.0.2.7" not in write(boxless)
    )
    assert "Holiday" in write(boxless)
    lineless = masking.mask(before, masking.Masking(redact=("evidence",)))
    assert "H=mx" not in write(lineless) and lineless.incidents[0].evidence[0].line == 1


def test_counted_names_say_nothing() -> None:
    namer = Mixed(Counted(), Unchanged(), Unchanged())
    assert [namer.mailbox(a) for a in ("zoe@a.example", "anna@a.example", "ZOE@b.example")] == [
        "mailbox1@a.example",
        "mailbox2@a.example",
        "mailbox1@b.example",
    ]


def test_subjects_of_exchange_rows_are_left_out() -> None:
    row = (
        "2026-03-05T12:00:00.000Z,,,,EX01,,,SMTP,RECEIVE,1,<a@b.example>,,bob@b.example,,100,1,,,Holiday plans,anna@a.example,,,"
    )
    assert "Holiday" not in masking._without_subject(row) and "anna@a.example" in masking._without_subject(row)


def test_what_cannot_be_left_out_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="subject,local-part"):
        masking.wanted(False, "names", None)
    with pytest.raises(UsageError, match="--pseudonymize"):
        masking.wanted(False, None, tmp_path / "key")
    (tmp_path / "key").write_text("short")
    with pytest.raises(UsageError, match="openssl rand"):
        masking.wanted(True, None, tmp_path / "key")
    assert masking.wanted(False, None, None) is None
    first, second = masking.wanted(True, None, None), masking.wanted(True, None, None)
    assert first and second and first.key != second.key
