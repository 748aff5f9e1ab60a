"""How long GitHub asks to wait before the next request, read off an answer.

https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from gha_dispatch._gh import Answer

UNSAID = 60.0  # seconds: the least for a limit that names no time
LEAST = 1.0
_WHOLE = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True)
class Limit:
    """A refusal by a rate limit: `seconds` to wait, which end at `until` by GitHub's clock."""

    seconds: float
    until: datetime


def limit_of(answer: Answer, now: datetime) -> Limit | None:
    """The limit that refused a request, None when the answer is no such refusal.

    GitHub's clock decides: `now` is used where the answer has no date.
    """
    if not _is_limit(answer):
        return None
    now = answer.date or now
    seconds = _whole(answer, "retry-after")
    if seconds is None and answer.headers.get("x-ratelimit-remaining") == "0":
        reset = _whole(answer, "x-ratelimit-reset")
        seconds = None if reset is None else reset - now.timestamp()
    seconds = UNSAID if seconds is None else max(seconds, LEAST)
    return Limit(seconds, now + timedelta(seconds=seconds))


def _is_limit(answer: Answer) -> bool:
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return True
    return answer.status == HTTPStatus.FORBIDDEN and (
        "retry-after" in answer.headers
        or answer.headers.get("x-ratelimit-remaining") == "0"
        or "rate limit" in answer.message.lower()
    )


def _whole(answer: Answer, header: str) -> float | None:
    text = answer.headers.get(header, "")
    return float(text) if _WHOLE.fullmatch(text) else None
