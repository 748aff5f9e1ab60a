from __future__ import annotations

import threading
from functools import partial

import pytest

from gha_queue._calls import Meter
from gha_queue._runtime import Runtime, in_threads


def test_results_come_in_the_order_of_the_requests() -> None:
    assert in_threads([partial(pow, number, 2) for number in range(100)], 8) == [
        number**2 for number in range(100)
    ]
    assert in_threads([], 8) == []


def test_requests_really_run_at_the_same_time() -> None:
    barrier = threading.Barrier(8)
    assert sorted(in_threads([barrier.wait] * 8, 8)) == list(range(8))


def test_the_first_error_in_order_is_raised_when_all_have_ended() -> None:
    done: list[int] = []

    def request(number: int) -> None:
        if number in {3, 5}:
            raise ValueError(number)
        done.append(number)

    with pytest.raises(ValueError, match="3"):
        in_threads([partial(request, number) for number in range(10)], 4)
    assert sorted(done) == [0, 1, 2, 4, 6, 7, 8, 9]


def test_an_interrupt_ends_all_at_once_and_is_not_lost() -> None:
    interrupted, sent = threading.Event(), []
    caller = threading.get_ident()

    def request(number: int) -> None:
        sent.append(number)
        if threading.get_ident() == caller:
            interrupted.set()
            raise KeyboardInterrupt
        interrupted.wait(10)
        raise ValueError(number)

    with pytest.raises(KeyboardInterrupt):
        in_threads([partial(request, number) for number in range(1000)], 4)
    assert len(sent) < 100


def test_the_servers_time_stays_within_what_an_answer_proves() -> None:
    clock = [0.0]
    meter = Meter(Runtime(monotonic=lambda: clock[0]))
    meter.observe(1000.0, sent=0.0)
    clock[0] = 5.0
    assert meter.now == 1005.0
    # An answer that took long says little, and does not turn the time back.
    meter.observe(1001.0, sent=0.0)
    assert meter.now == 1005.0
    # This clock stood still while the machine slept.
    meter.observe(5000.0, sent=5.0)
    assert meter.now == 5000.0
    # This clock runs too fast: an answer that took a moment proves it.
    clock[0] = 105.0
    meter.observe(5010.0, sent=104.5)
    assert meter.now == 5011.5
