"""The workflow runs of the stand-in: records, the queue for runners, logs."""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gha_dispatch.testing._http import ConnectionLostError
from gha_dispatch.testing._job import JobProcess, JobSite
from gha_dispatch.testing._plan import PlannedJob, StartupFailureError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMPLETED = "completed"


@dataclass
class JobRecord:
    """A job of a run as the API shows it. Guarded by the lock of `Runs`."""

    id: int
    plan: PlannedJob
    status: str = "queued"
    conclusion: str | None = None
    process: JobProcess | None = None
    is_cancelled: bool = False
    started: float | None = None
    ended: float | None = None
    annotations: list[str] = field(default_factory=list)


@dataclass
class RunRecord:
    """A workflow run as the API shows it. Guarded by the lock of `Runs`."""

    id: int
    number: int
    file: str
    workflow: str
    title: str
    actor: str
    ref: str
    sha: str
    message: str
    log: Path
    created: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)
    status: str = "queued"
    conclusion: str | None = None
    is_cancelled: bool = False
    jobs: list[JobRecord] = field(default_factory=list)


@dataclass(frozen=True)
class RunOrder:
    """How to run what was dispatched. `plan` may raise StartupFailureError."""

    plan: Callable[[], list[PlannedJob]]
    site: Callable[[RunRecord, JobRecord], JobSite]
    finish: Callable[[RunRecord], None]
    hidden: tuple[str, ...]


class Runs:
    """Runs dispatched workflows, at most `max_jobs` jobs at once. Thread-safe."""

    def __init__(self, max_jobs: int) -> None:
        self._max_jobs = max_jobs
        self._changed = threading.Condition()
        self._runs: dict[int, RunRecord] = {}
        self._threads: list[threading.Thread] = []
        self._numbers = itertools.count(1)
        self._job_ids = itertools.count(1)
        self._is_stopping = False

    def start(self, record: RunRecord, order: RunOrder) -> None:
        """Take a run on; it goes on in the background. After `stop` no answer is given."""
        with self._changed:
            if self._is_stopping:
                raise ConnectionLostError
            self._runs[record.id] = record
        self._spawn(self._run, record, order)

    def next_number(self) -> int:
        """The number of the next run, from 1."""
        return next(self._numbers)

    def get(self, run_id: int) -> RunRecord | None:
        """The run with this id."""
        with self._changed:
            return self._runs.get(run_id)

    def all(self) -> list[RunRecord]:
        """All runs, the newest first."""
        with self._changed:
            return sorted(self._runs.values(), key=lambda run: run.number, reverse=True)

    def cancel(self, run: RunRecord) -> bool:
        """Cancel a run's jobs; False when it is over."""
        with self._changed:
            if run.status == COMPLETED:
                return False
            run.is_cancelled = True
            self._cancel(run.jobs)
            return True

    def stop(self) -> None:
        """Kill every job and wait until nothing is left."""
        with self._changed:
            self._is_stopping = True
            for run in self._runs.values():
                run.is_cancelled = True
                for job in run.jobs:
                    job.is_cancelled = True
                    if job.process is not None:
                        job.process.kill()
            self._changed.notify_all()
        while self._threads:
            self._threads.pop().join()

    def _spawn(self, target: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _run(self, run: RunRecord, order: RunOrder) -> None:
        try:
            planned = order.plan()
        except StartupFailureError as error:
            _Log(run.log, order.hidden).write("startup", f"refused: {error}")
            self._finish(run, order, "startup_failure")
            return
        except (OSError, subprocess.CalledProcessError) as error:
            _Log(run.log, order.hidden).write("startup", f"the stand-in failed: {error}")
            self._finish(run, order, "failure")
            return
        with self._changed:
            run.jobs = [JobRecord(next(self._job_ids), plan) for plan in planned]
            if run.is_cancelled:
                self._cancel(run.jobs)
        log = _Log(run.log, order.hidden)
        threads = [self._spawn(self._job, run, job, order, log) for job in run.jobs]
        for thread in threads:
            thread.join()
        found = {job.conclusion for job in run.jobs}
        for conclusion in ("failure", "cancelled", "success"):
            if conclusion in found:
                break
        else:
            conclusion = "skipped"
        self._finish(run, order, conclusion)

    def _finish(self, run: RunRecord, order: RunOrder, conclusion: str) -> None:
        order.finish(run)
        with self._changed:
            run.status, run.conclusion, run.updated = COMPLETED, conclusion, time.time()
            self._changed.notify_all()

    def _job(self, run: RunRecord, job: JobRecord, order: RunOrder, log: _Log) -> None:
        conclusion = "cancelled"
        try:
            if job.plan.refused is not None:
                job.annotations.append(job.plan.refused)
                log.write(job.plan.name, f"refused: {job.plan.refused}")
                conclusion = "failure"
            elif self._enter(run, job):
                conclusion = self._execute(run, job, order, log)
        except OSError as error:
            log.write(job.plan.name, f"the runner failed: {error}")
            conclusion = "failure"
        with self._changed:
            job.status, job.conclusion, job.ended = COMPLETED, conclusion, time.time()
            if conclusion == "failure" and job.plan.fail_fast:
                self._cancel([one for one in run.jobs if one.plan.group == job.plan.group])
            self._changed.notify_all()

    def _enter(self, run: RunRecord, job: JobRecord) -> bool:
        """Wait for a runner; False when the job was cancelled before it got one."""
        with self._changed:
            self._changed.wait_for(lambda: job.is_cancelled or self._has_runner(run, job))
            if job.is_cancelled:
                return False
            job.status = run.status = "in_progress"
            job.started = run.updated = time.time()
            return True

    def _has_runner(self, run: RunRecord, job: JobRecord) -> bool:
        running = [
            (other.id, one.plan.group)
            for other in self._runs.values()
            for one in other.jobs
            if one.status == "in_progress"
        ]
        of_matrix = running.count((run.id, job.plan.group))
        limit = job.plan.max_parallel or self._max_jobs
        return len(running) < self._max_jobs and of_matrix < limit

    def _execute(self, run: RunRecord, job: JobRecord, order: RunOrder, log: _Log) -> str:
        with self._changed:
            process = job.process = JobProcess(job.plan, order.site(run, job))
            if job.is_cancelled:
                process.kill()

        def out_of_time() -> None:
            words = f"exceeded its limit of {job.plan.timeout:g} minutes"
            job.annotations.append(f"The job {words}.")
            log.write(job.plan.name, words)
            with self._changed:
                self._cancel([job])

        timer = threading.Timer(job.plan.timeout * 60, out_of_time)
        timer.daemon = True
        timer.start()
        try:
            conclusion = process.wait(lambda line: log.write(job.plan.name, line))
        finally:
            timer.cancel()
            process.clean()
        log.write(job.plan.name, f"concluded: {conclusion}")
        with self._changed:
            return "cancelled" if job.is_cancelled and conclusion != "success" else conclusion

    def _cancel(self, jobs: list[JobRecord]) -> None:
        for job in jobs:
            if job.status != COMPLETED and not job.is_cancelled:
                job.is_cancelled = True
                if job.process is not None:
                    job.process.cancel()
        self._changed.notify_all()


class _Log:
    """A run's log. Every line of every secret is hidden, as GitHub's runner does it."""

    def __init__(self, path: Path, hidden: tuple[str, ...]) -> None:
        self._path = path
        self._lock = threading.Lock()
        lines = {line.strip() for value in hidden for line in value.splitlines()}
        self._hidden = sorted(filter(None, lines), key=len, reverse=True)

    def write(self, job: str, text: str) -> None:
        for value in self._hidden:
            text = text.replace(value, "***")
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(f"[{job}] {text}\n")
