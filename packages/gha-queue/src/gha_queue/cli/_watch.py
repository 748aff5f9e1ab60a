"""`watch`: the queue as it moves."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from gha_queue._errors import StoreUnavailableError
from gha_queue._queue import Queue
from gha_queue.cli._exits import Exit
from gha_queue.cli._look import stats_facts
from gha_queue.cli._options import queue_and_json
from gha_queue.cli._output import (
    Kind,
    console,
    duration,
    facts_table,
    is_terminal,
    print_fields,
    print_json,
    say,
    spoken,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.live import Live

    from gha_queue._records import Status
    from gha_queue._requests import Requests
    from gha_queue._views import Stats


SHORTEST = 0.1
WINDOW = 60.0


@dataclass(frozen=True)
class Pace:
    """Jobs per second, and the seconds until none is left; None where that is not known."""

    jobs_per_second: float | None
    eta: float | None


class Pacer:
    """Judges the pace by the counts of the last minute.

    Only growth counts: jobs that are purged or retried meanwhile have not ended any less.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._ended = 0
        self._last: int | None = None

    def observe(self, moment: float, stats: Stats) -> Pace:
        """Take in the counts of a moment in seconds, and return the pace so far."""
        ended = stats.dead + stats.succeeded
        if self._last is not None:
            self._ended += max(0, ended - self._last)
        self._last = ended
        self._seen.append((moment, self._ended))
        while len(self._seen) > 2 and moment - self._seen[1][0] >= WINDOW:  # noqa: PLR2004 - two ends
            self._seen.popleft()
        began, before = self._seen[0]
        if moment <= began:
            return Pace(None, None)
        rate = (self._ended - before) / (moment - began)
        left = stats.ready + stats.delayed + stats.running
        if left == 0:
            return Pace(rate, 0.0)
        return Pace(rate, left / rate if rate > 0 else None)


@dataclass(frozen=True)
class Frame:
    """What a watch sees at one moment. `requests` and `dollars` are those of the watch itself."""

    status: Status
    stats: Stats
    pace: Pace
    requests: Requests
    dollars: float


@click.command(short_help="Watch the counts, the pace and the time left.")
@queue_and_json
@click.option("--until-drained", is_flag=True, help="End when nothing waits or runs.")
@click.option("--interval", type=duration, default=2.0, help="Between two looks.  [default: 2s]")
def watch(url: str, interval: float, *, until_drained: bool, as_json: bool) -> None:
    """Watch the queue: counts, oldest ages, jobs per second, the time left, and what this costs.

    A live view on a terminal, which stays when it ends; elsewhere a line for each change: status,
    ready, delayed, running, dead, succeeded, jobs per second, seconds left. A look
    costs the LISTs of `stats` and 1 GET, so ask large queues rarely. Ends with Ctrl-C.
    """
    if interval < SHORTEST:
        raise click.UsageError(f"--interval {interval:g} is too short: use {SHORTEST:g} or more")
    queue, pacer = Queue.attach(url), Pacer()
    with _view(url, as_json=as_json) as view:
        first = True
        while True:
            try:
                frame = _look(queue, pacer)
            except StoreUnavailableError as error:
                if first:
                    raise
                view.trouble(str(error))
            else:
                view.show(frame)
                if until_drained and _idle(frame.stats) and queue.drained():
                    return
            first = False
            time.sleep(interval)


def _look(queue: Queue, pacer: Pacer) -> Frame:
    status, stats = queue.state().status, queue.stats()
    pace = pacer.observe(time.monotonic(), stats)
    requests = queue.requests
    return Frame(status, stats, pace, requests, requests.dollars())


def _idle(stats: Stats) -> bool:
    return stats.ready + stats.delayed + stats.running == 0


@contextlib.contextmanager
def _view(url: str, *, as_json: bool) -> Iterator[_Lines | _Screen]:
    if as_json or not is_terminal():
        yield _Lines(as_json=as_json)
        return
    from rich.live import Live

    # An ordinary exit brings the cursor back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(Exit.TERMINATED))
    with Live(console=console(), auto_refresh=False) as live:
        yield _Screen(url, live)


class _Lines:
    """A line for each change, for logs and programs."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._shown: object = None
        self._troubled = False

    def show(self, frame: Frame) -> None:
        self._troubled = False
        stats = frame.stats
        counts = [(name, value) for name, value, kind in stats_facts(stats) if kind is Kind.COUNT]
        if self._shown == (frame.status, counts):
            return
        self._shown = (frame.status, counts)
        if self._as_json:
            print_json(frame)
            return
        rate, eta = frame.pace.jobs_per_second, frame.pace.eta
        print_fields(
            (
                frame.status.value,
                *(str(value) for _, value in counts),
                "" if rate is None else f"{rate:.2f}",
                "" if eta is None else f"{eta:.0f}",
            )
        )
        sys.stdout.flush()

    def trouble(self, text: str) -> None:
        if not self._troubled:
            say(text)
        self._troubled = True


class _Screen:
    """A view in place."""

    def __init__(self, url: str, live: Live) -> None:
        self._url = url
        self._live = live
        self._frame: Frame | None = None

    def show(self, frame: Frame) -> None:
        self._frame = frame
        self._draw("")

    def trouble(self, text: str) -> None:
        self._draw(text)

    def _draw(self, trouble: str) -> None:
        frame = self._frame
        if frame is None:
            return
        sent = sum(vars(frame.requests).values())
        facts: list[tuple[str, object, Kind]] = [
            ("queue", f"{self._url}  {frame.status.value}", Kind.TEXT),
            *stats_facts(frame.stats),
            ("pace", "  ".join(_pace_words(frame.pace)), Kind.TEXT),
            ("this watch", f"{sent} requests, ${frame.dollars:.6f}", Kind.TEXT),
        ]
        if trouble:
            facts.append(("trouble", trouble, Kind.TEXT))
        self._live.update(facts_table(facts), refresh=True)


def _pace_words(pace: Pace) -> list[str]:
    rate, eta = pace.jobs_per_second, pace.eta
    return [
        "- jobs/s" if rate is None else f"{rate:.2f} jobs/s",
        "ETA -" if eta is None else f"ETA {spoken(eta)}",
    ]
