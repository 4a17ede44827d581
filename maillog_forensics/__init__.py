"""maillog-forensics: mail loops and NDR storms, found in the logs of Postfix, Exim and Exchange.

`import maillog_forensics as mf; mf.analyze(paths)`; the other steps are functions of `maillog_forensics.steps`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maillog_forensics.api import analyze

__version__ = "0.1.0"
__all__ = ["__version__", "analyze"]


def __getattr__(name: str) -> object:
    """Load the library only when it is used: the command line must answer at once."""
    if name == "analyze":
        from maillog_forensics.api import analyze

        return analyze
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
