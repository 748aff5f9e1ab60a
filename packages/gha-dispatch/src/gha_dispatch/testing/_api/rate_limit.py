"""The primary rate limit of the REST API, as its headers and its answers tell it.

https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

import threading
import time

LIMIT = 5000
WINDOW = 3600.0  # seconds


class RateLimit:
    """Counts the requests of one hour. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used = 0
        self._reset = time.time() + WINDOW

    def exhaust(self, seconds: float) -> None:
        """Let nothing be left for so many seconds."""
        with self._lock:
            self._used = LIMIT
            self._reset = time.time() + seconds

    def spend(self) -> bool:
        """Count one request; False when none is left."""
        with self._lock:
            self._renew()
            if self._used >= LIMIT:
                return False
            self._used += 1
            return True

    def state(self) -> dict[str, int | str]:
        """What `GET /rate_limit` says of the one resource that there is."""
        with self._lock:
            self._renew()
            return {
                "limit": LIMIT,
                "used": self._used,
                "remaining": LIMIT - self._used,
                "reset": int(self._reset) + 1,
                "resource": "core",
            }

    def headers(self) -> dict[str, str]:
        """The headers that every answer carries."""
        return {f"X-RateLimit-{name.title()}": str(value) for name, value in self.state().items()}

    def _renew(self) -> None:
        if time.time() >= self._reset:
            self._used, self._reset = 0, time.time() + WINDOW
