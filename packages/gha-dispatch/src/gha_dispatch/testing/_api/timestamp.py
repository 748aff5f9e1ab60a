"""Times as the API writes and reads them: UTC, whole seconds."""

from __future__ import annotations

import time


def timestamp(seconds: float) -> str:
    """Seconds since the epoch, as in 2026-01-31T12:00:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
