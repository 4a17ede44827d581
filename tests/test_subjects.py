"""What subjects tell of who answers whom."""

from __future__ import annotations

import pytest

from maillog_forensics import subjects


@pytest.mark.parametrize(
    "subject",
    [
        "Re: Bestellung 7",
        "AW: AW: Termin",
        "SV: hej",
        "Re[2]: prices",
        "回复：你好",
        "Automatic reply: Ticket 5",
        "Auto: Question 1",
    ],
)
def test_what_programs_put_before_the_subject_of_an_answer(subject: str) -> None:
    assert subjects.is_answer(subject)


@pytest.mark.parametrize("subject", ["", "Report of 2026-11-02", "Result: 7 of 8", "Reminder: invoice 12", "Fwd: look at this"])
def test_what_is_no_answer_by_its_subject(subject: str) -> None:
    assert not subjects.is_answer(subject)


def test_a_stack_of_prefixes_that_grows_turn_by_turn_tells_most() -> None:
    mine = [f"{'Re: ' * (2 * n + 2)}order" for n in range(6)]
    theirs = [f"{'Re: ' * (2 * n + 1)}order" for n in range(6)]
    prefixed = subjects.answering((m, "order") for m in ["Re: order"] * 6)
    assert subjects.answering(zip(mine, theirs)) > prefixed > 0


def test_few_subjects_none_at_all_and_those_of_a_program_tell_nothing() -> None:
    assert subjects.answering([("Re: a", "a")] * 2) == 0
    assert subjects.answering([(None, None)] * 40) == 0
    assert subjects.answering([(f"Alarm {n}", f"Re: Alarm {n - 1}") for n in range(40)]) == 0
    half = [("Re: disk full", "Ticket 7")] * 10 + [("disk full on db1", "Ticket 8")] * 10
    assert subjects.answering(half) == 0


def test_subjects_that_only_machines_give() -> None:
    assert subjects.machine_made(["Undeliverable: Invoice 8812"] * 6) == 10
    assert subjects.machine_made(["Automatic reply: Lunch?"] * 3) > 5
    assert subjects.machine_made(["Re: Undeliverable: Invoice 8812"] * 20) == 0
    assert subjects.machine_made([None, "Automatic reply: Lunch?", None]) == 0
    assert subjects.machine_made(["Automatic reply: Lunch?", "Lunch?"] * 10) == 0


def test_new_subjects_speak_for_writing_of_ones_own_accord() -> None:
    asked = ["Visit on Thursday", "Quarterly figures", "Delivery note", "Protokoll"]
    acknowledged = [m for subject in asked for m in ((True, subject), (False, f"[#] {subject}"))]
    assert subjects.fresh(acknowledged) > 5
    assert subjects.fresh([(not own, subject) for own, subject in acknowledged]) == 0
    in_flight = [(k % 2 == 0, f"Automatic reply: {('Visit', 'Lunch')[k // 2 % 2]}") for k in range(40)]
    assert subjects.fresh(in_flight) == 0
    assert subjects.fresh([(True, None), (False, None)] * 10) == 0


def test_what_people_write_of_an_absence_is_no_absence_notice() -> None:
    thread = ["Out of office next week", *["Re: Out of office next week"] * 9]
    assert subjects.machine_made(thread) == 0
    assert subjects.machine_made(["Out of office"] * 9) == 10
