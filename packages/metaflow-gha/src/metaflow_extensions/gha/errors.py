"""The one error of the backend.

MetaflowException
└── GhaException        a sentence and a next step; Metaflow prints it without a traceback
    └── QueueGoneError  the run that this task belongs to has ended
"""

from __future__ import annotations

from metaflow.exception import MetaflowException


class GhaException(MetaflowException):
    """Something stops a run on GitHub Actions; the message says what to do next."""

    headline = "GitHub Actions"


class QueueGoneError(GhaException):
    """The queue was closed while this task waited: the run has ended or was cancelled."""
