"""Where time, chance and tokens come from: injected, so that tests can decide them."""

from __future__ import annotations

import random
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def _fresh_token() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Runtime:
    """The outside world of a queue, apart from its store.

    Nothing here is compared with another machine's time: `monotonic` only measures, the server's
    Date decides.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    token: Callable[[], str] = _fresh_token
    random: random.Random = field(default_factory=random.SystemRandom)

    def jitter(self, seconds: float) -> float:
        """Return a time between half and one and a half of `seconds`."""
        return seconds * (0.5 + self.random.random())
