from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gha_queue import Job, Outcome, OutcomeKind
from gha_queue._keys import Attempt
from gha_queue._rules import (
    BACKOFF_LIMIT,
    RELEASES_LIMIT,
    Ending,
    backoff_delay,
    conclude,
    due_after,
    idle_pause,
    release_delay,
)

ENDINGS = st.sampled_from([OutcomeKind.FAILED, OutcomeKind.LOST, OutcomeKind.RELEASED])


def end(job: Job, number: int, ending: Ending, before: Outcome | None = None) -> Outcome:
    return conclude(job, Attempt(job.id, number), ending, before, now=1000.0, chance=0.5)


def walk(budget: int, endings: list[OutcomeKind]) -> list[Outcome]:
    """The outcomes of a job whose attempts end so, one after another."""
    job = Job("a", None, max_attempts=budget)
    outcomes: list[Outcome] = []
    for number, kind in enumerate(endings, start=1):
        before = outcomes[-1] if outcomes else None
        outcomes.append(end(job, number, Ending(kind), before))
        if outcomes[-1].final:
            break
    return outcomes


@given(st.integers(1, 6), st.lists(ENDINGS, min_size=1, max_size=60))
def test_only_releases_are_free(budget: int, endings: list[OutcomeKind]) -> None:
    outcomes = walk(budget, endings)
    spent = sum(outcome.kind is not OutcomeKind.RELEASED for outcome in outcomes)
    assert outcomes[-1].used == spent
    assert outcomes[-1].final == (spent == budget)


@given(st.integers(1, 6), st.lists(ENDINGS, min_size=1, max_size=60))
def test_attempts_follow_without_gaps(budget: int, endings: list[OutcomeKind]) -> None:
    outcomes = walk(budget, endings)
    assert [outcome.next for outcome in outcomes[:-1]] == list(range(2, len(outcomes) + 1))
    assert all(outcome.next_due is not None for outcome in outcomes[:-1])


@given(
    st.sampled_from([OutcomeKind.SUCCEEDED, OutcomeKind.CANCELLED]),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_success_and_cancel_end_the_job(kind: OutcomeKind, budget: int, number: int) -> None:
    job = Job("a", None, max_attempts=budget + 9)
    outcome = end(job, number, Ending(kind))
    assert outcome.final
    assert outcome.next_due is None


def test_a_failure_without_retry_ends_the_job() -> None:
    job = Job("a", None, max_attempts=5)
    outcome = end(job, 1, Ending(OutcomeKind.FAILED, retry=False))
    assert (outcome.final, outcome.used) == (True, 1)


def test_a_missing_past_counts_as_used_up() -> None:
    job = Job("a", None, max_attempts=3)
    outcome = end(job, 3, Ending(OutcomeKind.FAILED))
    assert (outcome.final, outcome.used) == (True, 3)


def test_the_hundredth_release_in_a_row_counts_as_lost() -> None:
    outcomes = walk(2, [OutcomeKind.RELEASED] * RELEASES_LIMIT)
    assert [outcome.kind for outcome in outcomes[:-1]] == [OutcomeKind.RELEASED] * 99
    assert (outcomes[-1].kind, outcomes[-1].used) == (OutcomeKind.LOST, 1)
    assert not outcomes[-1].final


def test_a_failure_starts_the_count_of_releases_anew() -> None:
    endings = [OutcomeKind.RELEASED] * 5 + [OutcomeKind.FAILED, OutcomeKind.RELEASED]
    assert walk(9, endings)[-1].releases == 1


def test_releases_back_off_from_the_twentieth_to_a_minute() -> None:
    assert [release_delay(count, 0.0) for count in (1, 19, 20, 23, 26, 99)] == [0, 0, 1, 8, 60, 60]
    assert release_delay(30, 90.0) == 90.0


@given(st.floats(0, 4e9), st.floats(0.001, 1e6), st.floats(0, 0.999))
def test_a_delay_is_never_cut_short_by_a_date_that_lags(
    true_now: float, delay: float, lag: float
) -> None:
    assert due_after(max(0.0, true_now - lag), delay) >= true_now + delay - 1e-6


def test_without_delay_a_job_is_due_at_once() -> None:
    assert due_after(1000.9, 0.0) == 1000


def test_an_outcome_says_what_it_was_told() -> None:
    job = Job("a", None)
    outcome = end(job, 1, Ending(OutcomeKind.SUCCEEDED, "w", 990.0, [1]))
    assert replace(outcome, used=0) == Outcome(
        "a", 1, OutcomeKind.SUCCEEDED, [1], None, "w", 0, 0, None, None, 990.0, 1000.0
    )


def test_wished_releases_are_neither_counted_nor_slowed() -> None:
    job, outcome = Job("a", None), None
    for number in range(1, 2 * RELEASES_LIMIT):
        outcome = end(job, number, Ending(OutcomeKind.RELEASED, delay=5.0, wished=True), outcome)
        assert (outcome.kind, outcome.releases, outcome.used) == (OutcomeKind.RELEASED, 0, 0)
        assert outcome.next_due == 1006


def test_failures_back_off_by_doubling() -> None:
    job = Job("a", None, max_attempts=9, backoff=10.0)
    first = end(job, 1, Ending(OutcomeKind.FAILED))
    second = end(job, 2, Ending(OutcomeKind.FAILED), first)
    lost = end(job, 3, Ending(OutcomeKind.LOST), second)
    assert [outcome.next_due for outcome in (first, second, lost)] == [1011, 1021, 1000]


@given(st.floats(0, 1e9), st.integers(1, 10**9), st.floats(0, 0.999))
def test_a_backoff_stays_in_its_bounds(backoff: float, failures: int, chance: float) -> None:
    assert 0 <= backoff_delay(backoff, failures, chance) <= 1.5 * BACKOFF_LIMIT


@given(st.integers(1, 1000), st.floats(0, 0.999))
def test_idle_pauses_grow_from_a_quarter_of_a_second_to_three(looks: int, chance: float) -> None:
    assert 0.18 < idle_pause(looks, chance) <= 3.0
    assert idle_pause(1, chance) <= 0.25
    assert idle_pause(looks + 1, chance) >= idle_pause(looks, chance)
