"""What gha-worker makes of a machine, beside its budgets: full cores, jobs per second, memory, start and end.

    uv run python benchmarks/worker.py [--quick] [--only cores,jobs,memory,end,start]

One worker process on a real S3 server (ministack) on this machine, with which it shares the cores. Takes about eight
minutes; `--quick` does a tenth of the work.
"""

from __future__ import annotations

import sys

# A script's folder leads the path, where queue.py would be taken for the standard library's.
sys.path.pop(0)

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import tempfile
import textwrap
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gha_queue import OutcomeKind, Queue
from gha_queue.testing import FaultProxy, S3Server
from gha_worker import CommandJob, JobRecord, Resources, Server, read_timeline
from gha_worker._guard.process_tree import descendants
from gha_worker._jobs.submission import new_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gha_queue.testing import ProxiedRequest

CORES = 2
TICKS = os.sysconf("SC_CLK_TCK")
MEGABYTE = 2**20

COUNTING = 'printf x >> "$COUNT"'
SERVING = """exec {python} -c '
import json, os
from pathlib import Path
requests = open(int(os.environ["GHA_WORKER_REQUESTS"]), "rb")
answers = open(int(os.environ["GHA_WORKER_RESPONSES"]), "wb", buffering=0)
for line in requests:
    job = json.loads(line)
    answers.write(json.dumps({{"id": job["id"], "started": True}}).encode() + b"\\n")
    with open(job["env"]["COUNT"], "ab") as count:
        count.write(b"x")
    answers.write(json.dumps({{"id": job["id"], "exit_code": 0}}).encode() + b"\\n")
' serves-empty-jobs
"""
SERVER_MARK = "serves-empty-jobs"

# The worker's command line, with a stopwatch on its claims.
TIMED = """
import json, os, time
from gha_queue import Queue
from gha_worker.__main__ import main

spent = {"claims": 0, "claiming": 0.0, "looks": 0, "looking": 0.0}
claim = Queue.claim

def timed(*arguments):
    began = time.monotonic()
    won = claim(*arguments)
    count, seconds = ("looks", "looking") if won is None else ("claims", "claiming")
    spent[count] += 1
    spent[seconds] += time.monotonic() - began
    return won

Queue.claim = timed
stopwatch = os.environ.pop("STOPWATCH")
try:
    main()
finally:
    with open(stopwatch, "w") as file:
        json.dump(spent, file)
"""


@dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured, its budget, and whether it was kept."""

    what: str
    budget: str
    measured: str
    kept: bool


@dataclass
class Bench:
    """The S3 server, a folder of its own, and what has been measured so far."""

    server: S3Server
    folder: Path
    quick: bool
    figures: list[Figure] = field(default_factory=list)
    _queues: int = 0

    def queue(self, url: str | None = None) -> Queue:
        """A new queue."""
        self._queues += 1
        queue = Queue(url or f"s3://jobs/{self._queues}")
        queue.create()
        return queue

    @contextmanager
    def worker(
        self, queue: Queue, *options: str, code: str | None = None, **variables: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A worker process; killed if it does not leave by itself within the context."""
        main = ["-m", "gha_worker"] if code is None else ["-c", code]
        command = [sys.executable, *main, "run", queue.url, "--work-dir", str(self.folder / "vm")]
        log = self.folder / "worker.log"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            **self.server.environment,
            **variables,
        }
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, *options], env=environment, stdout=out, stderr=subprocess.STDOUT
            )
        try:
            yield process
            if process.wait(1800) != 0:
                raise RuntimeError(f"the worker failed: {log.read_text()[-2000:]}")
        finally:
            process.kill()
            process.wait()

    def add(self, what: str, budget: str, measured: str, *, kept: bool) -> None:
        self.figures.append(Figure(what, budget, measured, kept))
        print(f"  {what}: {measured} ({budget})", flush=True)


def fill_cores(bench: Bench) -> None:
    """One-second jobs of one core: from the worker's start to its end."""
    jobs = 16 if bench.quick else 64
    queue = bench.queue()
    queue.put_many([new_job(CommandJob("sleep 1")) for _ in range(jobs)])
    queue.close()
    began = time.monotonic()
    with bench.worker(queue, "--cores", str(CORES)):
        pass
    seconds = time.monotonic() - began
    budget = jobs / CORES + 2.0
    what = f"{jobs} one-second jobs on {CORES} cores, start to exit"
    bench.add(what, f"<= {budget:.0f} s", f"{seconds:.1f} s", kept=seconds <= budget)


def empty_job(count: Path, *, served: bool) -> CommandJob:
    """A job that adds one byte to a file, so that it can be counted."""
    script = SERVING.format(python=sys.executable)
    server = Server(script) if served else None
    return CommandJob(COUNTING, env={"COUNT": str(count)}, server=server)


def run_empty_jobs(bench: Bench) -> None:
    """Jobs per second, with a persistent server and without, and where the time goes."""
    for served in (True, False):
        jobs = 200 if bench.quick else 1_000
        queue, count = bench.queue(), bench.folder / f"count-{served}"
        queue.put_many([new_job(empty_job(count, served=served)) for _ in range(jobs)])
        queue.close()
        stopwatch = bench.folder / "stopwatch"
        store = cpu_seconds(bench.server.pid)
        began = time.monotonic()
        with bench.worker(
            queue, "--cores", str(CORES), code=TIMED, STOPWATCH=str(stopwatch)
        ) as process:
            cpu = WorkerCpu.watch(process.pid)
        seconds = time.monotonic() - began
        store = cpu_seconds(bench.server.pid) - store
        assert count.stat().st_size == jobs
        rate = jobs / seconds
        how = "a persistent server" if served else "a process each"
        what = f"{jobs:,} empty jobs by {how}, start to exit"
        budget = ">= 25 jobs/s" if served else ""
        bench.add(what, budget, f"{rate:.1f} jobs/s", kept=not served or rate >= 25)  # noqa: PLR2004
        clock = json.loads(stopwatch.read_text())
        show_times(read_timeline(queue), clock, seconds)
        show_cpu(cpu, store, seconds, jobs)


def show_times(records: list[JobRecord], clock: dict[str, float], seconds: float) -> None:
    jobs = len(records)
    began = [record.run_began for record in records]
    stages = {
        "prepare: claimed to begun": _mean(
            start - record.claimed
            for record, start in zip(records, began, strict=True)
            if start is not None
        ),
        "run: begun to ended": _mean(
            record.ended - start
            for record, start in zip(records, began, strict=True)
            if start is not None
        ),
        "settle: ended to settled": _mean(record.settled - record.ended for record in records),
    }
    claiming, looking = clock["claiming"], clock["looking"]
    rest = seconds - claiming - looking
    print(f"    {'where the time goes':40} {'ms per job':>10} {'of the time':>12}")
    for name, spent in (
        ("claim, one after another", claiming),
        (f"look in vain ({clock['looks']:.0f} times)", looking),
        ("idle: no room for a job, start, end", rest),
    ):
        print(f"    {name:40} {spent / jobs * 1000:10.1f} {spent / seconds:12.0%}")
    print(f"    {f'beside that, in the threads of {CORES} jobs':40}")
    for name, mean in stages.items():
        print(f"    {name:40} {mean * 1000:10.1f} {mean * jobs / seconds:12.0%}")


def _mean(values: Iterator[float]) -> float:
    return statistics.fmean(values)


@dataclass(frozen=True)
class WorkerCpu:
    """Seconds of CPU of a worker that has ended, of its persistent servers, of all else below it."""

    worker: float
    servers: float
    guards: float

    @classmethod
    def watch(cls, pid: int) -> WorkerCpu:
        """Look on until the process ends; it is left to be waited for."""
        servers: dict[int, float] = {}
        while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            for child in descendants(pid):
                with suppress(OSError):
                    if SERVER_MARK in Path(f"/proc/{child}/cmdline").read_text(errors="replace"):
                        servers[child] = sum(_cpu(child)[:2])
            time.sleep(0.2)
        own, system, below, system_below = _cpu(pid)
        served = sum(servers.values())
        return cls(own + system, served, below + system_below - served)


def show_cpu(cpu: WorkerCpu, store: float, seconds: float, jobs: int) -> None:
    print(f"    {'CPU':40} {'ms per job':>10} {'of one core':>12}")
    for name, spent in (
        ("worker", cpu.worker),
        ("guards and what they run", cpu.guards),
        ("persistent servers", cpu.servers),
        ("S3 server", store),
    ):
        print(f"    {name:40} {spent / jobs * 1000:10.1f} {spent / seconds:12.0%}")


def cpu_seconds(pid: int) -> float:
    """What a process and those it has waited for have used of the CPU."""
    return sum(_cpu(pid))


def _cpu(pid: int) -> tuple[float, float, float, float]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, user_below, system_below = (int(text) / TICKS for text in fields[11:15])
    return user, system, user_below, system_below


def keep_memory(bench: Bench) -> None:
    """Resident memory of the worker over many jobs, on the queue in S3 and on one in a directory."""
    marks = (100, 500, 1_000) if bench.quick else (1_000, 5_000, 10_000)
    for url in (None, (bench.folder / "queue").as_uri()):
        queue, count = bench.queue(url), bench.folder / "count"
        count.write_bytes(b"")
        job = empty_job(count, served=True)
        # Some more, so that the worker is not yet at its summary when the last look comes.
        queue.put_many([new_job(job) for _ in range(marks[-1] + 100)])
        queue.close()
        seen: dict[int, float] = {}
        with bench.worker(queue, "--cores", str(CORES)) as process:
            for mark in (1, *marks):
                while count.stat().st_size < mark and process.poll() is None:
                    time.sleep(0.005)
                seen[mark] = memory(process.pid)
        store = queue.url.partition(":")[0]
        course = ", ".join(f"{megabytes:.1f} at {mark:,}" for mark, megabytes in seen.items())
        what = f"memory in MB over {marks[-1]:,} jobs from {store}"
        # The first half fills what is kept of the last jobs; from there on nothing may grow.
        flat = seen[marks[2]] - seen[marks[1]] <= 1.0
        bench.add(what, "<= 60, flat", course, kept=flat and max(seen.values()) <= 60)  # noqa: PLR2004


def memory(pid: int) -> float:
    """Resident MB of a process, 0 for one that has ended."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / MEGABYTE if found else 0.0


def end_on_signal(bench: Bench) -> None:
    """From SIGINT, with four jobs that ignore it, to the exit of the worker."""
    took = []
    for number in range(1 if bench.quick else 3):
        queue, begun = bench.queue(), bench.folder / f"begun-{number}"
        begun.mkdir()
        deaf = f"trap '' INT TERM; touch {begun}/$GHA_WORKER_JOB; while :; do sleep 60; done"
        job = CommandJob(deaf, resources=Resources(0.5))
        names = [put.id for put in queue.put_many([new_job(job) for _ in range(4)])]
        with bench.worker(queue, "--cores", str(CORES)) as process:
            while len(os.listdir(begun)) < len(names):  # noqa: PTH208  # only their number
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
        took.append(time.monotonic() - began)
        for name in names:
            outcome = queue.history(name).attempts[0].outcome
            assert outcome is not None
            assert outcome.kind is OutcomeKind.RELEASED
    what = "SIGINT with 4 deaf jobs to exit, all released"
    bench.add(what, "<= 5 s", f"{max(took):.1f} s at worst", kept=max(took) <= 5)  # noqa: PLR2004


def start_fast(bench: Bench) -> None:
    """From the start of the process to the arrival of its first claim at the store."""
    queue = bench.queue()
    claimed = threading.Event()
    at = 0.0

    def watch(request: ProxiedRequest) -> None:
        nonlocal at
        if request.conditional and "/claims/" in request.key and not claimed.is_set():
            at = time.monotonic()
            claimed.set()

    took = []
    with FaultProxy(bench.server.endpoint, watch) as proxy:
        for _ in range(3 if bench.quick else 9):
            queue.put_many([new_job(CommandJob("true"))])
            claimed.clear()
            began = time.monotonic()
            with bench.worker(queue, "--max-jobs", "1", AWS_ENDPOINT_URL_S3=proxy.endpoint):
                assert claimed.wait(60)
                took.append(at - began)
    middle = statistics.median(took)
    what = f"process start to first claim, median of {len(took)}"
    bench.add(what, "<= 0.8 s", f"{middle:.2f} s", kept=middle <= 0.8)  # noqa: PLR2004


PARTS: dict[str, Callable[[Bench], None]] = {
    "cores": fill_cores,
    "jobs": run_empty_jobs,
    "memory": keep_memory,
    "end": end_on_signal,
    "start": start_fast,
}


def main() -> None:
    description = textwrap.dedent(__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="do a tenth of the work")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run  [default: all]")
    arguments = parser.parse_args()
    with (
        S3Server() as server,
        tempfile.TemporaryDirectory(prefix="gha-bench-") as folder,
    ):
        os.environ.update(server.environment)
        server.create_bucket("jobs")
        bench = Bench(server, Path(folder), arguments.quick)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the first part")
        for name in arguments.only.split(","):
            print(name, flush=True)
            PARTS[name](bench)
    print(f"\n{'':58} {'budget':>14}  measured")
    for figure in bench.figures:
        missed = "" if figure.kept else "   MISSED"
        print(f"{figure.what:58} {figure.budget:>14}  {figure.measured}{missed}")


if __name__ == "__main__":
    main()
