"""What gha-queue costs in requests, round trips, time and memory, beside its budgets.

    uv run python benchmarks/queue.py [--quick]

Requests and round trips are counted with the real queue code over a simulated bucket, so that 256 workers need no 256
machines. Time and memory are measured on a real S3 server on this machine; where time is involved, both sides of a
ratio run in turn. Takes about ten minutes; `--quick` does a tenth of the work.
"""

from __future__ import annotations

import sys

# A script's folder leads the path, where this file would be taken for the standard library's queue.
sys.path.pop(0)

import argparse
import functools
import multiprocessing
import os
import random
import secrets
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gha_queue import Job, NewJob, Queue, Requests, idle_pause, s3_client
from gha_queue._keys import job_key
from gha_queue._records import dump, job_fields
from gha_queue.testing import S3Server
from gha_queue.testing.simulation import Operation, Simulation, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue.testing.simulation import Process

ONE_WAY = (0.025, 0.06)  # a request takes 50 to 120 ms there and back
SECONDS = 1.0  # that a job runs, so that no heartbeat falls due
WIDTH = 32


@dataclass(frozen=True)
class Budget:
    """Requests per job, and what goes wrong per job."""

    workers: int
    jobs: int
    writes: float
    reads: float
    misses: float | None = None


BUDGETS = (
    Budget(20, 10_000, 4.2, 3.3),
    Budget(20, 500, 4.6, 3.8),
    Budget(256, 10_000, 5.2, 4.5, misses=0.5),
)


@dataclass(frozen=True)
class Counted:
    """One simulated run: requests per job, and the claims' round trips (99th percentile)."""

    writes: float
    reads: float
    lost: float
    stale: float
    slow: float


class _Claims:
    """Watches who wins the creation of a claim."""

    def __init__(self) -> None:
        self.won = self.lost = 0

    def sent(self, *_: object) -> None:
        """Nothing is to be known before a request lands."""

    def landed(self, request: object, _: object, status: int) -> None:
        if getattr(request, "if_absent", False) and "claims/" in str(request):
            self.won += status == 200  # noqa: PLR2004 - HTTP
            self.lost += status == 412  # noqa: PLR2004 - HTTP


def simulate(workers: int, jobs: int, *, steady: bool, seed: int = 1) -> Counted:
    """Run one-second jobs on simulated workers; `steady` makes every request take the same."""
    chance = random.Random(seed)  # noqa: S311 - a benchmark that repeats
    mean = sum(ONE_WAY) / 2
    claims = _Claims()
    stage = Simulation(
        chance,
        (lambda: mean) if steady else (lambda: chance.uniform(*ONE_WAY)),
        grain=0.001,
        watcher=claims,
        world=World(events_limit=10**9),
    )
    putter = stage.process("putter")
    queue = stage.queue(putter)
    putter.start(lambda: [queue.put(None) for _ in range(jobs)])
    stage.run()
    took: list[float] = []

    def work(process: Process, mine: Queue) -> None:
        process.sleep(chance.random())
        looks = 0
        while len(took) < jobs:
            asked = process.monotonic()
            claim = mine.claim(process.name)
            if claim is None:
                looks += 1
                process.sleep(idle_pause(looks, chance.random()))
                continue
            looks = 0
            took.append((process.monotonic() - asked) / (2 * mean))
            process.sleep(SECONDS)
            claim.complete()

    for number in range(workers):
        process = stage.process(f"w{number}")
        process.start(functools.partial(work, process, stage.queue(process)))
    stage.run()
    counts = stage.counts
    return Counted(
        writes=(counts[Operation.PUT] + counts[Operation.LIST]) / jobs,
        reads=counts[Operation.GET] / jobs,
        lost=claims.lost / jobs,
        stale=(claims.won - jobs) / jobs,
        slow=statistics.quantiles(took, n=100)[98],
    )


def _simulate(job: tuple[Budget, bool, int]) -> Counted:
    budget, steady, seed = job
    return simulate(budget.workers, budget.jobs, steady=steady, seed=seed)


def report_requests(*, quick: bool) -> None:
    budgets = BUDGETS[1:2] if quick else BUDGETS
    plans = [(budget, steady, 1) for budget in budgets for steady in (False, True)]
    with multiprocessing.Pool(2) as pool:
        results = pool.map(_simulate, plans, chunksize=1)
    print("\nRequests per one-second job, put to completion (simulated, 50 to 120 ms per request)")
    print(
        f"{'workers':>7} {'waiting':>7} {'PUT+LIST':>14} {'GET':>12} {'lost claims':>14} "
        f"{'stale wins':>14} {'claim p99, round trips':>24}"
    )
    for budget, varied, steady in zip(budgets, results[::2], results[1::2], strict=True):
        misses = f" (<= {budget.misses})" if budget.misses else ""
        print(
            f"{budget.workers:7} {budget.jobs:7} {varied.writes:5.2f} (<= {budget.writes}) "
            f"{varied.reads:5.2f} (<= {budget.reads}) {varied.lost:.3f}{misses:9} "
            f"{varied.stale:.3f}{misses:9} {steady.slow:6.1f} (<= 6), {varied.slow:.1f} with jitter"
        )


def report_put_many(server: S3Server, rounds: int, jobs: int) -> None:
    client = s3_client()

    def bare(name: str) -> None:
        """Send what put_many sends, without asking what came of it."""
        puts = []
        for number in range(jobs):
            job = Job(secrets.token_hex(16), number, due=int(time.time()))
            body = dump({**job_fields(job), "token": secrets.token_hex(16)})
            puts.append((f"{name}/{job_key(job.id)}", body, f"{name}/{job.marker(1, job.due).key}"))

        def put(key: str, body: bytes, marker: str) -> None:
            client.put_object(Bucket="jobs", Key=key, Body=body, IfNoneMatch="*")
            client.put_object(Bucket="jobs", Key=marker, Body=b"")

        with ThreadPoolExecutor(WIDTH) as pool:
            list(pool.map(put, *zip(*puts, strict=True)))

    def ours(name: str) -> None:
        Queue(f"s3://jobs/{name}").put_many([NewJob(number) for number in range(jobs)])

    ratios = []
    for number in range(rounds):
        seconds = {}
        for way in (bare, ours) if number % 2 else (ours, bare):
            server.create_bucket("jobs")
            name = f"{way.__name__}-{number}"
            if way is ours:
                Queue(f"s3://jobs/{name}").create()
            seconds[way] = _timed(functools.partial(way, name))
        ratios.append(seconds[bare] / seconds[ours])
        print(
            f"  put_many of {jobs} jobs: {jobs / seconds[ours]:.0f} jobs/s; "
            f"bare loop of the same {2 * jobs} PUTs: {jobs / seconds[bare]:.0f} jobs/s"
        )
    print(f"  put_many reaches {statistics.median(ratios):.0%} of the bare loop (>= 90%)")


def _timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


WORKER = r"""
import re, sys
from pathlib import Path
from gha_queue import Queue
queue = Queue.attach(sys.argv[1])
for _ in range(50):
    claim = queue.claim("w")
    with claim.keep_alive():
        pass
    claim.complete()
# Not ru_maxrss, which an exec inherits from the larger process before it.
print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""


def report_memory(jobs: int) -> None:
    """Let a worker take jobs from the head of a long queue; what follows need only be listed."""
    client = s3_client()
    peaks = {}
    for name, waiting in (("few", 0), ("many", jobs)):
        queue = Queue(f"s3://jobs/{name}")
        queue.put_many([NewJob(number, priority=0) for number in range(100)])
        keys = [f"{name}/{Job(f'job-{n}', n, due=1).marker(1, 1).key}" for n in range(waiting)]
        with ThreadPoolExecutor(WIDTH) as pool:
            list(pool.map(lambda key: client.put_object(Bucket="jobs", Key=key, Body=b""), keys))
        command = [sys.executable, "-c", WORKER, queue.url]
        peaks[name] = float(subprocess.run(command, check=True, capture_output=True).stdout)
    print(
        f"  a worker's memory with {jobs} jobs waiting: {peaks['many']:.1f} MB at its peak (< 60), "
        f"with 100: {peaks['few']:.1f} MB"
    )


def report_idle() -> None:
    pauses = [f"{idle_pause(looks, 0.5):.2f}" for looks in range(1, 10)]
    elapsed, looks = 0.0, 0
    while elapsed < 3600:  # noqa: PLR2004 - an hour
        looks += 1
        elapsed += idle_pause(looks, 0.5)
    dollars = Requests(list_objects_v2=looks).dollars()
    print(
        f"  an idle worker looks after {', '.join(pauses)} s, ...: "
        f"{looks} LISTs = ${dollars:.4f} an hour"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="do a tenth of the work")
    parser.add_argument("--no-simulation", action="store_true", help="leave the first table out")
    arguments = parser.parse_args()
    quick = arguments.quick
    if not arguments.no_simulation:
        report_requests(quick=quick)
    print("\nOn a real S3 server (ministack) on this machine")
    with S3Server() as server:
        os.environ.update(server.environ())
        server.create_bucket("jobs")
        report_put_many(server, rounds=1 if quick else 3, jobs=1_000 if quick else 10_000)
    with S3Server() as server:
        os.environ.update(server.environ())
        server.create_bucket("jobs")
        report_memory(10_000 if quick else 100_000)
    report_idle()


if __name__ == "__main__":
    main()
