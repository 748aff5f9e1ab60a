"""The one error of the backend.

MetaflowException
└── GhaException    a sentence and a next step; Metaflow prints it without a traceback
"""

from __future__ import annotations

from metaflow.exception import MetaflowException


class GhaException(MetaflowException):  # type: ignore[misc]  # Metaflow ships no types
    """Something stops a run on GitHub Actions; the message says what to do next."""

    headline = "GitHub Actions"
