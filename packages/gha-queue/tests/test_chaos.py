"""Real worker processes over a network that breaks, and under SIGKILL.

The gate runs a small size; GHA_QUEUE_CHAOS=1 asks for the full one, which takes minutes.
"""

from __future__ import annotations

import collections
import json
import os
import random
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gha_queue import OutcomeKind, Queue
from gha_queue._places import parse_place
from gha_queue._runtime import in_threads
from gha_queue.testing import Answer, DropResponse, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gha_queue import S3Client
    from gha_queue._store import Store
    from gha_queue.testing import ProxiedRequest, S3Server

FULL = os.environ.get("GHA_QUEUE_CHAOS") == "1"
WORKER = Path(__file__).with_name("chaos_worker.py")

pytestmark = pytest.mark.timeout(900)


class Crew:
    """Worker processes that can be killed and hired, and what they noted."""

    def __init__(self, url: str, environment: dict[str, str], folder: Path, seconds: float) -> None:
        self._command = [sys.executable, str(WORKER), url]
        self._environment = environment
        self._folder = folder
        self._seconds = seconds
        self._hired = 0
        self.running: list[subprocess.Popen[bytes]] = []

    def hire(self, count: int) -> None:
        for _ in range(count):
            self._hired += 1
            name = f"w{self._hired}"
            command = [*self._command, name, str(self._folder / name), str(self._seconds)]
            self.running.append(subprocess.Popen(command, env=self._environment))

    def kill(self, number: int) -> None:
        process = self.running.pop(number)
        process.kill()
        process.wait()

    def kill_busy(self, patience: float = 60.0) -> str:
        """Kill a worker that has just started a job, as soon as there is one; its attempt."""
        give_up = time.monotonic() + patience
        while time.monotonic() < give_up:
            for number, process in enumerate(self.running):
                log = Path(process.args[-2])  # type: ignore[index,arg-type]
                lines = log.read_text().splitlines() if log.exists() else []
                if lines and lines[-1].startswith("start "):
                    self.kill(number)
                    return ".".join(lines[-1].split()[1:])
            time.sleep(0.02)
        pytest.fail("no worker ever had a job")

    def finish(self, timeout: float) -> None:
        for process in self.running:
            assert process.wait(timeout) == 0

    def end(self) -> None:
        while self.running:
            self.kill(0)

    def notes(self, event: str) -> dict[str, list[int]]:
        """The attempts of which an event was noted, by job."""
        attempts = collections.defaultdict(list)
        for log in self._folder.iterdir():
            for line in log.read_text().splitlines():
                kind, job, attempt = line.split()
                if kind == event:
                    attempts[job].append(int(attempt))
        return attempts


@dataclass(frozen=True)
class Site:
    """The server as this process and as others reach it."""

    client: S3Client
    environment: dict[str, str]


@pytest.fixture
def site(server: S3Server, client: S3Client) -> Site:
    return Site(client, server.environ())


@pytest.fixture
def hire(tmp_path: Path) -> Iterator[Callable[..., Crew]]:
    with ExitStack() as stack:

        def hire(url: str, environment: dict[str, str], count: int, seconds: float = 0) -> Crew:
            logs = tmp_path / "logs"
            logs.mkdir()
            crew = Crew(url, environment, logs, seconds)
            stack.callback(crew.end)
            crew.hire(count)
            return crew

        yield hire


def keys(store: Store, prefix: str) -> list[str]:
    found: list[str] = []
    more = True
    while more:
        page = store.list(prefix, found[-1] if found else "", 1000)
        found += [entry.key for entry in page.entries]
        more = page.more
    return found


def check(queue: Queue, store: Store, crew: Crew, ids: list[str]) -> dict[str, int]:
    """Every job succeeded once, by the bucket's word and by the workers'; nothing is left over.

    Returns how many attempts ended in each way.
    """
    bodies = in_threads([partial(store.read, key) for key in keys(store, "outcomes/")], 16)
    ends: dict[str, dict[int, str]] = collections.defaultdict(dict)
    for found in bodies:
        assert found.body is not None
        record = json.loads(found.body)
        assert record["attempt"] not in ends[record["job"]]
        ends[record["job"]][record["attempt"]] = record["kind"]
    started, done = crew.notes("start"), crew.notes("done")
    assert sorted(ends) == sorted(ids)
    for job, kinds in ends.items():
        last = max(kinds)
        assert [number for number, kind in kinds.items() if kind == "succeeded"] == [last]
        assert sorted(kinds) == list(range(1, last + 1))
        assert len(started[job]) == len(set(started[job]))
        assert max(started[job]) == last
        assert done[job] in ([last], [])
    for job in ids[:20]:
        assert queue.outcome(job).kind is OutcomeKind.SUCCEEDED  # type: ignore[union-attr]
    assert keys(store, "ready/") == keys(store, "claims/") == keys(store, "dead/") == []
    return dict(collections.Counter(kind for kinds in ends.values() for kind in kinds.values()))


class BadNetwork:
    """Answers 503 to every fifth request and loses the answer to every third creation that works.

    A creation works if it is the first of its key to reach the server.
    """

    def __init__(self) -> None:
        self.requests = self.refused = self.created = self.lost = 0
        self._keys: set[str] = set()

    def __call__(self, request: ProxiedRequest) -> Answer | DropResponse | None:
        self.requests += 1
        if self.requests % 5 == 0:
            self.refused += 1
            return Answer(503, "SlowDown")
        if request.conditional and request.key not in self._keys:
            self._keys.add(request.key)
            self.created += 1
            if self.created % 3 == 0:
                self.lost += 1
                return DropResponse()
        return None


def test_every_job_succeeds_once_behind_a_bad_network(
    remote: Queue, site: Site, proxy: FaultProxy, hire: Callable[..., Crew]
) -> None:
    count, workers = (2000, 16) if FULL else (60, 4)
    network = BadNetwork()
    ids = [f"job-{number}" for number in range(count)]
    started = time.monotonic()
    proxy.plan = network
    in_threads([partial(remote.put, None, id=job, max_attempts=5) for job in ids], 16)
    remote.close()
    environment = {**site.environment, "AWS_ENDPOINT_URL_S3": proxy.endpoint}
    crew = hire(remote.url, environment, workers)
    crew.finish(timeout=800)
    seconds = time.monotonic() - started
    ends = check(remote, parse_place(remote.url, site.client).open(), crew, ids)
    assert set(crew.notes("done")) == set(ids)
    assert network.lost > count / 2
    assert network.refused > count
    print(  # noqa: T201 - the figures of the full size
        f"\n{count} jobs, {workers} processes, {seconds:.0f} s: {network.requests} requests, "
        f"{network.refused} times 503, {network.lost} of {network.created} creations' answers "
        f"lost; attempts ended {ends}"
    )


@pytest.mark.parametrize("scheme", ["s3", "file"])
def test_every_job_ends_once_though_workers_are_killed(
    scheme: str, url: str, site: Site, tmp_path: Path, hire: Callable[..., Crew]
) -> None:
    duration, pause = (120, 0.8) if FULL else (8, 0.4)
    chance = random.Random(20)  # noqa: S311 - a repeatable choice of victims
    client = site.client if scheme == "s3" else None
    url = url if scheme == "s3" else (tmp_path / "queue").as_uri()
    queue = Queue(url, client, lease=3, heartbeat=1)
    queue.create()
    crew = hire(url, site.environment, 8, seconds=0.8)
    ids: list[str] = []
    kills = 0
    started = time.monotonic()

    def put_some() -> None:
        fresh = [f"job-{len(ids) + number}" for number in range(12)]
        in_threads([partial(queue.put, None, id=job, max_attempts=50) for job in fresh], 12)
        ids.extend(fresh)

    while time.monotonic() < started + duration:
        put_some()
        time.sleep(chance.uniform(0, 2 * pause))  # the workers' time between two deaths
        crew.kill(chance.randrange(8))
        crew.hire(1)
        kills += 1
    # However slowly this machine starts its workers, one dies with a job in its hands.
    store = parse_place(url, client).open()
    killed = None
    while killed is None or store.read(f"outcomes/{killed}").body is not None:
        put_some()
        killed = crew.kill_busy()
        crew.hire(1)
    queue.close()
    crew.finish(timeout=300)
    seconds = time.monotonic() - started
    ends = check(queue, store, crew, ids)
    assert ends.get("lost", 0) > 0
    print(  # noqa: T201 - the figures of the full size
        f"\n{scheme}: {len(ids)} jobs, {kills} kills in {duration} s, ended after {seconds:.0f} s; "
        f"attempts ended {ends}"
    )
