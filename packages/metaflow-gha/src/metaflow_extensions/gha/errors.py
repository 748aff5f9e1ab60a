"""The errors of the backend.

MetaflowException
└── GhaException      a sentence and a next step; Metaflow prints it without a traceback
    └── UnmetError    a prerequisite of a run, and the commands that mend it
"""

from __future__ import annotations

from metaflow.exception import MetaflowException


class GhaException(MetaflowException):  # type: ignore[misc]  # Metaflow ships no types
    """Something stops a run on GitHub Actions; the message says what to do next."""

    headline = "GitHub Actions"


class UnmetError(GhaException):
    """A prerequisite that is not met: a run stops with these words, `gha doctor` shows them in red."""

    def __init__(self, found: str, *remedy: str) -> None:
        super().__init__("\n".join([found, *(f"  {line}" for line in remedy)]))
        self.found = found
        self.remedy = remedy
