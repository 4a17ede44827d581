"""Where the data that comes with the program lies: log formats, report templates, samples."""

from __future__ import annotations

from pathlib import Path

from maillog_forensics.errors import MaillogForensicsError

_HERE = Path(__file__).parent


def folder(name: str) -> Path:
    """The folder `name`: inside the installed package, or at the top of a checkout."""
    for place in (_HERE / name, _HERE.parent / name):
        if place.is_dir():
            return place
    raise MaillogForensicsError(f"the folder {name}/ of this installation is missing: install maillog-forensics again")
