"""What the text of a refusal says of the end of a loop."""

from __future__ import annotations

import pytest

from maillog_forensics.endings import classify


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("554 5.4.0 Error: too many hops", "hop_limit"),
        ("554 5.7.1 <a@b.example>: Sender address rejected: mail loop with our tickets, blocked by postmaster", "blocked"),
        ("554 5.7.1 <a@b.example>: Recipient address rejected: Policy rejection; message rate exceeded", "sending_limit"),
        ("450 4.7.1 <a@b.example>: Recipient address rejected: too many messages, try again later", "sending_limit"),
        ("550 we think this is a mail loop", "hop_limit"),
        ("552 5.3.4 Message size exceeds fixed limit", "blocked"),
        ("552-5.2.3 Your message exceeded our message size limits", "blocked"),
        ("552 5.2.2 Mailbox size limit exceeded", "mailbox_full"),
        ("452 4.2.2 The recipient's inbox is over quota", "mailbox_full"),
        ("550 5.1.1 no such user", None),
        ("450 4.7.1 [192.5.3.4] sends too many messages, try again later", "sending_limit"),
        ("550 5.1.1 no such user at 10.5.2.2", None),
    ],
)
def test_words_that_look_like_a_guards_are_one_only_where_a_guard_says_them(text: str, reason: str | None) -> None:
    assert classify(text)[0] == reason
    assert classify(f"host mx.b.example[192.0.2.1] said: {text} (in reply to end of DATA command)")[0] == reason
