"""The workflow runs of the stand-in: records, the wait for concurrency groups and runners."""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from gha_dispatch.testing._api.http import ConnectionLostError
from gha_dispatch.testing._runners.job import JobProcess, JobSite
from gha_dispatch.testing._runners.steps import JobEvent, JobLog
from gha_dispatch.testing._workflows.concurrency import Concurrency, Groups, Place
from gha_dispatch.testing._workflows.plan import PlannedJob, StartupFailureError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_dispatch.testing._runners.run_log import RunLog

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
    log: JobLog = field(default_factory=JobLog)


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
    log: RunLog
    created: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)
    status: str = "queued"
    conclusion: str | None = None
    is_cancelled: bool = False
    jobs: list[JobRecord] = field(default_factory=list)
    places: dict[Concurrency, Place] = field(default_factory=dict)


@dataclass(frozen=True)
class RunOrder:
    """How to run what was dispatched. `plan` may raise StartupFailureError.

    `concurrency` is the run's own. `close` follows each `site`, `finish` the whole run.
    """

    concurrency: Concurrency | None
    plan: Callable[[], list[PlannedJob]]
    site: Callable[[JobRecord], JobSite]
    close: Callable[[JobSite], None]
    finish: Callable[[], None]


class Runs:
    """Runs dispatched workflows, at most `max_jobs` jobs at once. Thread-safe."""

    def __init__(self, max_jobs: int) -> None:
        self._max_jobs = max_jobs
        self._changed = threading.Condition()
        self._runs: dict[int, RunRecord] = {}
        self._groups = Groups()
        self._threads: list[threading.Thread] = []
        self._numbers = itertools.count(1)
        self._job_ids = itertools.count(1)
        self._is_stopping = False

    def start(self, run: RunRecord, order: RunOrder) -> None:
        """Take a run on; it goes on in the background. After `stop` no answer is given."""
        with self._changed:
            if self._is_stopping:
                raise ConnectionLostError
            self._runs[run.id] = run
            if order.concurrency is not None and not self._ask(run, order.concurrency).is_granted:
                run.status = "pending"
            self._spawn(self._run, run, order)

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
            self._cancel_run(run)
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
        thread.start()
        self._threads.append(thread)  # afterwards: `stop` could not join one that has not begun
        return thread

    def _run(self, run: RunRecord, order: RunOrder) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: run.is_cancelled or all(one.is_granted for one in run.places.values())
            )
            is_cancelled = run.is_cancelled
            run.status = "queued"
        if is_cancelled:
            self._finish(run, order, "cancelled")
            return
        try:
            planned = order.plan()
        except StartupFailureError as error:
            run.log.write("startup", f"refused: {error}")
            self._finish(run, order, "startup_failure")
            return
        except (OSError, subprocess.CalledProcessError) as error:
            run.log.write("startup", f"the stand-in failed: {error}")
            self._finish(run, order, "failure")
            return
        with self._changed:
            run.jobs = [JobRecord(next(self._job_ids), plan) for plan in planned]
            if run.is_cancelled:
                self._cancel(run, run.jobs)
            for job in run.jobs:  # in the order of the file, not of the threads
                for wanted in job.plan.places[:1]:
                    self._ask(run, wanted)
        threads = [self._spawn(self._job, run, job, order) for job in run.jobs]
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
        order.finish()
        with self._changed:
            run.status, run.conclusion, run.updated = COMPLETED, conclusion, time.time()
            for place in run.places.values():
                self._groups.leave(place)
            self._changed.notify_all()

    def _job(self, run: RunRecord, job: JobRecord, order: RunOrder) -> None:
        conclusion = "cancelled"
        try:
            if job.plan.refused is not None:
                self._note(run, job, f"refused: {job.plan.refused}")
                conclusion = "failure"
            elif self._enter(run, job):
                conclusion = self._execute(run, job, order)
        except Exception as error:  # noqa: BLE001 -- a job without an end would hold its run for ever
            self._note(run, job, f"the runner failed: {' '.join(str(error).split())}")
            conclusion = "failure"
        with self._changed:
            job.status, job.conclusion, job.ended = COMPLETED, conclusion, time.time()
            if conclusion == "failure" and job.plan.fail_fast:
                siblings = [one for one in run.jobs if one.plan.group == job.plan.group]
                self._cancel(run, siblings)
            for wanted in job.plan.places:
                sharers = [one for one in run.jobs if wanted in one.plan.places]
                if wanted in run.places and all(one.status == COMPLETED for one in sharers):
                    self._groups.leave(run.places[wanted])
            self._changed.notify_all()

    def _enter(self, run: RunRecord, job: JobRecord) -> bool:
        """Wait for a place in each group, then a runner; False when cancelled before that."""
        with self._changed:
            for wanted in job.plan.places:
                if job.is_cancelled:
                    break
                place = self._ask(run, wanted)
                if not place.is_granted:
                    job.status = "pending"
                self._changed.wait_for(partial(_may_go_on, job, place))
                job.status = "queued"
            self._changed.wait_for(lambda: job.is_cancelled or self._has_runner(run, job))
            if job.is_cancelled:
                return False
            job.status = run.status = "in_progress"
            job.started = run.updated = time.time()
            return True

    def _ask(self, run: RunRecord, wanted: Concurrency) -> Place:
        """The run's place for this, asked for at the first call. It holds for all who share it."""

        def cancel(words: str) -> None:
            if any(wanted in job.plan.places for job in run.jobs):
                self._cancel(run, [job for job in run.jobs if wanted in job.plan.places], words)
            else:
                run.log.write("concurrency", words)
                self._cancel_run(run)

        if wanted not in run.places:
            run.places[wanted] = Place(wanted, cancel)
            self._groups.enter(run.places[wanted])
        return run.places[wanted]

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

    def _execute(self, run: RunRecord, job: JobRecord, order: RunOrder) -> str:
        site = order.site(job)
        try:
            with self._changed:
                process = job.process = JobProcess(job.plan, site)
                if job.is_cancelled:
                    process.kill()
            return self._follow(run, job, process)
        finally:
            order.close(site)

    def _follow(self, run: RunRecord, job: JobRecord, process: JobProcess) -> str:
        def out_of_time() -> None:
            with self._changed:
                words = f"The job has exceeded its limit of {job.plan.timeout:g} minutes"
                self._cancel(run, [job], words)

        def hear(event: JobEvent) -> None:
            lines = [run.log.write(job.plan.name, line) for line in event.text.splitlines()]
            job.log.hear(replace(event, name=run.log.mask(event.name)), lines)

        timer = threading.Timer(job.plan.timeout * 60, out_of_time)
        timer.daemon = True
        timer.start()
        try:
            conclusion = process.wait(hear)
        finally:
            timer.cancel()
            process.clean()
        run.log.write(job.plan.name, f"concluded: {conclusion}")
        with self._changed:
            return "cancelled" if job.is_cancelled and conclusion != "success" else conclusion

    def _cancel_run(self, run: RunRecord) -> None:
        run.is_cancelled = True
        self._cancel(run, run.jobs)

    def _cancel(self, run: RunRecord, jobs: list[JobRecord], words: str = "") -> None:
        for job in jobs:
            if job.status != COMPLETED and not job.is_cancelled:
                job.is_cancelled = True
                if words:
                    self._note(run, job, words)
                if job.process is not None:
                    job.process.cancel()
        self._changed.notify_all()

    def _note(self, run: RunRecord, job: JobRecord, words: str) -> None:
        """Say why a job does not run to its end, in the log and beside the job."""
        job.annotations.append(words)
        run.log.write(job.plan.name, words)


def _may_go_on(job: JobRecord, place: Place) -> bool:
    return job.is_cancelled or place.is_granted
