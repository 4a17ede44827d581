"""Write the gold pages again: `python -m tests.refresh_gold`. The diff is the review."""

from __future__ import annotations

from tests.test_report import GOLD, GOLD_DOCUMENTS, gold_text


def main() -> None:
    """One file for each document that has a gold page."""
    GOLD.mkdir(exist_ok=True)
    wanted = {name for kind in GOLD_DOCUMENTS for name in [kind]}
    for old in GOLD.iterdir():
        if old.name not in wanted:
            old.unlink()
    for name in GOLD_DOCUMENTS:
        (GOLD / name).write_text(gold_text(name), "utf-8", newline="\n")


if __name__ == "__main__":
    main()
