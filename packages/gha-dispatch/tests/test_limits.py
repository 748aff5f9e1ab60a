"""How long is waited, and what is sent again: by a clock that a test turns."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_dispatch import GitHubUnavailableError, NetworkError, RateLimitedError
from gha_dispatch._gh import Answer
from gha_dispatch._limits import LEAST, UNSAID, limit_of
from gha_dispatch._patience import PAUSES, Patience

NOW = datetime(2026, 11, 22, 17, 0, tzinfo=timezone.utc)
moments = st.integers(10**9, 4 * 10**9).map(
    lambda seconds: datetime.fromtimestamp(seconds, timezone.utc)
)
texts = st.text(max_size=12) | st.integers(-9, 10**12).map(str)


def refused(status: int = 403, message: str = "No", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, {"message": message})


@given(date=moments, seconds=st.integers(0, 10**7))
def test_retry_after_counts_from_githubs_own_clock(date: datetime, seconds: int) -> None:
    answer = refused(date=format_datetime(date, usegmt=True), retry_after=str(seconds))
    limit = limit_of(answer, NOW)
    assert limit is not None
    assert limit.seconds == max(seconds, LEAST)
    assert limit.until == date + timedelta(seconds=limit.seconds)


@given(date=moments, ahead=st.integers(-10_000, 10**7))
def test_the_reset_of_a_used_up_limit_is_the_end_of_the_wait(date: datetime, ahead: int) -> None:
    reset = int(date.timestamp()) + ahead
    answer = refused(
        date=format_datetime(date, usegmt=True),
        x_ratelimit_remaining="0",
        x_ratelimit_reset=str(reset),
    )
    limit = limit_of(answer, NOW)
    assert limit is not None
    if ahead >= LEAST:
        assert limit.until.timestamp() == reset
    assert limit.seconds == max(ahead, LEAST)


@given(
    status=st.integers(200, 599),
    headers=st.dictionaries(
        st.sampled_from(["retry-after", "date", "x-ratelimit-remaining", "x-ratelimit-reset"]),
        texts,
    ),
    message=st.text(),
)
def test_any_answer_is_a_limit_with_a_positive_wait_or_none(
    status: int, headers: dict[str, str], message: str
) -> None:
    limit = limit_of(Answer(status, headers, {"message": message}), NOW)
    if status not in {403, 429}:
        assert limit is None
    if limit is not None:
        assert limit.seconds >= LEAST
        assert limit.until.tzinfo is not None


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (refused(429), UNSAID),
        (refused(403, "You have exceeded a secondary rate limit"), UNSAID),
        (refused(403, "API rate limit exceeded", x_ratelimit_reset="1795366801"), UNSAID),
        (refused(403, retry_after="later"), UNSAID),
        (refused(403, retry_after="5", x_ratelimit_remaining="0"), 5.0),
        (refused(429, retry_after="0"), LEAST),
        (refused(403, "Must have admin rights"), None),
        (refused(403, "No", x_ratelimit_remaining="4999"), None),
        (refused(503, retry_after="5"), None),
        (refused(401, "rate limit"), None),
    ],
)
def test_a_limit_is_told_from_other_refusals(answer: Answer, seconds: float | None) -> None:
    limit = limit_of(answer, NOW)
    assert (None if limit is None else limit.seconds) == seconds


class Time:
    """A clock that moves when someone sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


class Line:
    """Gives the answers it was told, and counts how often it was asked. The last one repeats."""

    def __init__(self, time: Time, *answers: Answer | Exception, takes: float = 0.0) -> None:
        self.answers = list(answers)
        self.asked = 0
        self._time = time
        self._takes = takes

    def __call__(self) -> Answer:
        self.asked += 1
        self._time.now += self._takes
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


LOST = NetworkError("github.com", "EOF")
DOWN = refused(502)
FINE = Answer(200, {}, {})


@pytest.fixture
def time() -> Time:
    return Time()


def patience(time: Time, limits: float = 60.0) -> Patience:
    return Patience(limits, 30.0, 0.0, lambda: time.now, time.sleep)


@pytest.mark.parametrize("trouble", [LOST, DOWN])
def test_what_may_be_done_twice_is_sent_again_a_few_times(
    time: Time, trouble: Answer | NetworkError
) -> None:
    line = Line(time, trouble, trouble, trouble, FINE)
    assert patience(time).answer(line, repeat=True) is FINE
    assert time.naps == list(PAUSES)


def test_a_trouble_that_stays_is_the_answer_in_the_end(time: Time) -> None:
    line = Line(time, DOWN)
    assert patience(time).answer(line, repeat=True) is DOWN
    assert line.asked == 1 + len(PAUSES)
    lost = Line(time, LOST)
    with pytest.raises(NetworkError):
        patience(time).answer(lost, repeat=True)
    assert lost.asked == 1 + len(PAUSES)


@pytest.mark.parametrize("trouble", [LOST, DOWN])
def test_what_may_not_be_done_twice_is_sent_once(
    time: Time, trouble: Answer | NetworkError
) -> None:
    line = Line(time, trouble, FINE)
    try:
        answer = patience(time).answer(line, repeat=False)
        assert answer.status == 502
    except GitHubUnavailableError:
        assert trouble is LOST
    assert (line.asked, time.naps) == (1, [])


def test_a_host_that_hangs_is_not_asked_again(time: Time) -> None:
    line = Line(time, LOST, FINE, takes=30.0)
    with pytest.raises(NetworkError):
        patience(time).answer(line, repeat=True)
    assert line.asked == 1


@pytest.mark.parametrize("repeat", [True, False])
def test_a_refusal_by_a_rate_limit_was_not_done_and_is_waited_for(time: Time, repeat: bool) -> None:
    line = Line(time, refused(retry_after="40"), refused(retry_after="20"), FINE)
    assert patience(time).answer(line, repeat=repeat) is FINE
    assert time.naps == [40.0, 20.0]


def test_the_waits_for_rate_limits_are_bounded_together(time: Time) -> None:
    line = Line(time, refused(retry_after="40"), refused(retry_after="21"), FINE)
    with pytest.raises(RateLimitedError) as caught:
        patience(time).answer(line, repeat=True)
    assert (caught.value.retry_after, time.naps) == (21.0, [40.0])


@given(
    waits=st.lists(st.integers(0, 50), max_size=12),
    limits=st.integers(0, 120),
    repeat=st.booleans(),
)
def test_no_sequence_of_refusals_is_waited_for_longer_than_the_patience(
    waits: list[int], limits: int, repeat: bool
) -> None:
    time = Time()
    line = Line(time, *(refused(retry_after=str(wait)) for wait in waits), FINE)
    with contextlib.suppress(RateLimitedError):
        patience(time, limits).answer(line, repeat=repeat)
    assert sum(time.naps) <= limits
    granted = sum(max(wait, LEAST) for wait in waits)
    assert (line.asked == len(waits) + 1) is (granted <= limits)
