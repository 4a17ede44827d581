"""maillog-forensics: mail loops and NDR storms, found in the logs of Postfix, Exim and Exchange."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]
