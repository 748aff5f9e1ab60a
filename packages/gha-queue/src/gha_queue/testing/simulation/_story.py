"""What happened, one readable line per step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Story:
    """Lines with the simulated time and who acts; `muted`, it keeps nothing and costs little."""

    def __init__(self, *, muted: bool = False) -> None:
        self._lines: list[tuple[float, str, str]] = []
        self._muted = muted
        self.clock: Callable[[], float] = float

    def say(self, who: str, what: str, *details: object) -> None:
        """Add a line; `details` are put into `what` by %, only if anybody listens."""
        if not self._muted:
            self._lines.append((self.clock(), who, what % details))

    def __str__(self) -> str:
        width = max((len(who) for _, who, _ in self._lines), default=0)
        return "\n".join(
            f"{seconds:10.3f} s  {who:{width}}  {what}" for seconds, who, what in self._lines
        )
