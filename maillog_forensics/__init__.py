"""maillog-forensics: mail loops and NDR storms, found in the logs of Postfix, Exim and Exchange.

The functions of `maillog_forensics.api` can be called from here: `import maillog_forensics as mf; mf.analyze(paths)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maillog_forensics.api import analyze, correlate, normalize

__version__ = "0.1.0"
__all__ = ["__version__", "analyze", "correlate", "normalize"]


def __getattr__(name: str) -> object:
    """Load the library only when it is used: the command line must answer at once."""
    if name in ("analyze", "correlate", "normalize"):
        from maillog_forensics import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
