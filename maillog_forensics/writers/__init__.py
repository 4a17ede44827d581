"""Writing what was found: tables, texts, under a temporary name first."""

from __future__ import annotations

from maillog_forensics.writers.lines import strange_lines
from maillog_forensics.writers.places import check_name, check_no_input, check_place, replacing, write_text
from maillog_forensics.writers.tables import KINDS, PARTITIONS, Output, write_events

__all__ = [
    "KINDS",
    "PARTITIONS",
    "Output",
    "check_name",
    "check_no_input",
    "check_place",
    "replacing",
    "strange_lines",
    "write_events",
    "write_text",
]
