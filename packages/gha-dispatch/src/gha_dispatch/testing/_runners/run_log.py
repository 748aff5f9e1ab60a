"""A run's log: what a reader of the repository would see."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class RunLog:
    """Every line of every secret is hidden, as GitHub's runner does it. Thread-safe."""

    def __init__(self, path: Path, hidden: Iterable[str]) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._hidden: list[str] = []
        self.hide(hidden)

    def hide(self, values: Iterable[str]) -> None:
        """Hide further values from now on."""
        lines = {line.strip() for value in values for line in value.splitlines()}
        with self._lock:
            self._hidden = sorted({*self._hidden, *filter(None, lines)}, key=len, reverse=True)

    def mask(self, text: str) -> str:
        """The text as everyone may see it."""
        with self._lock:
            for value in self._hidden:
                text = text.replace(value, "***")
        return text

    def write(self, job: str, text: str) -> str:
        """Add a line; give it as it was written."""
        masked = self.mask(text)
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(f"[{job}] {masked}\n")
        return masked
