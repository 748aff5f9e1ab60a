"""When a request is sent again, and how long a rate limit is waited for: the one place for both."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING

from gha_dispatch._errors import NetworkError, RateLimitedError
from gha_dispatch._limits import limit_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_dispatch._gh import Answer

PAUSES = (0.5, 1.0, 2.0)  # seconds before the second, third and last try


@dataclass(frozen=True)
class Patience:
    """How long is waited, in seconds, and by which clock.

    `limits` is for all rate limits of one request together, `repeats` the time after which an
    unanswered request is not sent again, `lookup` for a run whose dispatch got no clear answer.
    """

    limits: float
    repeats: float
    lookup: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def answer(self, send: Callable[[], Answer], *, repeat: bool) -> Answer:
        """The answer to a request, whatever its status, rate limits excepted.

        What a rate limit refused was not done: such a request is sent again when GitHub asks to
        wait no longer than `limits`, and RateLimitedError raised else. What was lost on the way,
        or ended in a 5xx, may have been done: with `repeat`, for requests that may be done
        twice, it is sent again up to three times. Raises NetworkError.
        """
        pauses = list(PAUSES) if repeat else []
        last_repeat = self.clock() + self.repeats
        left = self.limits
        while True:
            try:
                answer = send()
            except NetworkError:
                if not pauses or self.clock() >= last_repeat:
                    raise
                self.sleep(pauses.pop(0))
                continue
            limit = limit_of(answer, datetime.now(timezone.utc))
            if limit is not None:
                if limit.seconds > left:
                    raise RateLimitedError(limit.seconds, limit.until)
                left -= limit.seconds
                self.sleep(limit.seconds)
                continue
            is_down = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            if not is_down or not pauses or self.clock() >= last_repeat:
                return answer
            self.sleep(pauses.pop(0))
