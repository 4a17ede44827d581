"""Everything this package raises on purpose. Bad *data* is never an exception: it is counted, shown and kept."""

from __future__ import annotations


class MaillogForensicsError(Exception):
    """Root of the tree; its text is one sentence that can be shown to a user as it is."""

    exit_code = 1


class UsageError(MaillogForensicsError):
    """The command or a parameter can't mean anything, or what it names can't be written to."""

    exit_code = 2


class NoInputError(MaillogForensicsError):
    """Nothing among the inputs could be read or recognised."""

    exit_code = 3


class GrammarError(MaillogForensicsError):
    """A grammar file is wrong; the text names file, line and column."""

    def __init__(self, file: str, line: int, column: int, problem: str) -> None:
        super().__init__(f"{file}:{line}:{column}: {problem}")
        self.file, self.line, self.column, self.problem = file, line, column, problem


class SchemaError(MaillogForensicsError):
    """A table does not have the columns that its stage promises: a defect of this program."""


class FindingsError(MaillogForensicsError):
    """A findings file is not one that this version can read."""


class ArchiveError(MaillogForensicsError):
    """The archive can't be used just now, or is damaged; what was in it before still is (exit code 1)."""
