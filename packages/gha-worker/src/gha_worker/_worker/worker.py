"""The worker: claims what fits, runs it, leaves."""

from __future__ import annotations

import itertools
import random
import tempfile
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gha_queue import (
    LeaseLostError,
    QueueError,
    RecordError,
    Status,
    StoreUnavailableError,
    idle_pause,
)
from gha_worker._errors import InvalidJobError, MachineError, WorkerError
from gha_worker._guard.guard import remove_tree
from gha_worker._guard.guarded_script import SpareGuards
from gha_worker._guard.servers import Servers
from gha_worker._jobs.command_job import CommandJob
from gha_worker._jobs.need import Need, spelled
from gha_worker._machine.environment import (
    own_secrets,
    run_url,
    secret_values,
    shared_environment,
)
from gha_worker._machine.info import worker_info
from gha_worker._machine.memory import MemoryWatch
from gha_worker._machine.prepared import Prepared
from gha_worker._telling.job_log import JobLogs
from gha_worker._telling.summary import Summary
from gha_worker._telling.timeline import Timeline
from gha_worker._worker import rules
from gha_worker._worker.execution import Grant, Limit, Machine
from gha_worker._worker.packing import Packing, PassedOver
from gha_worker._worker.pulse import Pulse
from gha_worker._worker.rules import Interruption, Leaving, Situation
from gha_worker._worker.running_job import RunningJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gha_queue import Claim, Queue
    from gha_worker._machine.capacity import Capacity
    from gha_worker._signals import StopSignals
    from gha_worker._telling.journal import Journal
    from gha_worker._worker.identity import Identity

REAP_PERIOD = 15.0
_LEAST = Need(millicores=1, memory_mb=1, timeout=1)
_FULL = 1.0
_GIVEN_BACK = 15.0
# With the farewell after it, over before GitHub's second signal, 7.5 s after its first.
_PARTING = 4.0
_LAST_WORDS = 2.0


@dataclass(frozen=True)
class WorkerSettings:
    """How one worker behaves. `idle_timeout` and `lifetime` are in seconds.

    `started` is the monotonic time from which its machine's life is counted. `slots` jobs run at a
    time where that is given, else as many as fit `capacity`. It leaves after `max_jobs`.
    """

    name: str
    capacity: Capacity
    idle_timeout: float
    lifetime: float
    started: float
    slots: int | None = None
    max_jobs: int | None = None
    cache_mb: int = 4096
    work_dir: Path | None = None


class Worker:
    """Runs the command jobs of `queue`, as many at a time as fit, until there is a reason to leave.

    The thread that calls :meth:`run` claims; each job has a thread of its own, from its claim to
    its settled end.
    """

    def __init__(
        self,
        queue: Queue,
        settings: WorkerSettings,
        environment: Mapping[str, str],
        journal: Journal,
        signals: StopSignals,
        *,
        identity: Identity | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._queue = queue
        self._settings = settings
        self._environment = environment
        self._journal = journal
        self._signals = signals
        self._identity = identity
        self._chance = chance
        self._packing = Packing(settings.capacity, settings.slots)
        self._passed_over = PassedOver()
        self._too_big: Need | None = None
        self._jobs: list[RunningJob] = []
        self._taken = 0
        self._work_seen = self._reaped = time.monotonic()
        self._misses = 0
        self._faulty = self._failed = self._full = self._drained = False
        self._refused_for_age = False
        self._leaving: Leaving | None = None
        files = queue.worker_files(settings.name)
        self._timeline = Timeline(files, settings.name, journal.worker)
        self._summary = Summary(settings.name, settings.capacity)
        self._info = worker_info(environment, settings.capacity)

    def run(self) -> None:
        """Work until there is a reason to leave.

        Raises :class:`gha_queue.QueueError` when the queue cannot be used and
        :class:`MachineError` when this machine cannot run jobs; it has left by then.
        """
        name = self._settings.name
        self._journal.mask(own_secrets(self._environment))
        if not self._queue.enroll(name, self._report()):
            self._journal.worker(
                f"worker {name} leaves: another worker has this name; choose another"
            )
            return
        try:
            with (
                self._machine() as machine,
                Pulse(self._queue, name, self._report, self._signals.bell.ring) as pulse,
            ):
                self._journal.worker(f"worker {name} is ready: {self._size()}")
                leaving = self._work(pulse, machine)
            self._journal.worker(
                f"worker {name} leaves: {leaving.value}{self._left_behind(leaving)}"
            )
        finally:
            self._summary.write(self._environment)
            self._say_goodbye()

    def _work(self, pulse: Pulse, machine: Machine) -> Leaving:
        try:
            while True:
                if pulse.failure is not None:
                    raise pulse.failure  # noqa: TRY301  # handled like what ends a job's thread
                self._collect()
                self._timeline.flush_when_due()
                situation = self._situation(pulse)
                leaving = rules.why_leave(situation)
                if leaving is not None:
                    if leaving.at_once:
                        self._part()
                    if not self._jobs or leaving.at_once:
                        return leaving
                    self._announce(leaving)
                elif self._look_for_work(pulse, machine, situation):
                    continue
                self._see_to_held(situation)
                self._wait(pulse)
        except Exception:
            self._failed = True
            self._part()
            raise

    def _announce(self, leaving: Leaving) -> None:
        if leaving is not self._leaving:
            self._leaving = leaving
            self._journal.worker(f"leaves when its jobs have ended: {leaving.value}")

    def _wait(self, pulse: Pulse) -> None:
        idle = idle_pause(self._misses, self._chance())
        self._signals.bell.wait(idle if self._has_room(pulse) else _FULL)
        for job in self._jobs:
            job.look()

    def _look_for_work(self, pulse: Pulse, machine: Machine, situation: Situation) -> bool:
        """Claim a job and start it, or do what an idle worker does; whether to go on at once."""
        try:
            if rules.may_claim(situation) and self._has_room(pulse):
                claim = self._claim(pulse, situation)
                if claim is not None:
                    self._take(claim, pulse, machine)
                    return True
            # Asked only after control was read as closed: in the other order a job that was put
            # in between would be left behind.
            if situation.closed and not self._jobs and self._queue.drained():
                self._drained = True
                return True
            if situation.now >= self._reaped + REAP_PERIOD:
                self._reaped = situation.now
                self._queue.reap()
            self._faulty = False
        except (StoreUnavailableError, RecordError) as error:
            if not self._faulty:
                self._journal.worker(f"tries again: {error}")
            self._faulty = True
        self._misses += 1
        return False

    def _situation(self, pulse: Pulse) -> Situation:
        control, now = pulse.control, time.monotonic()
        return Situation(
            now=now,
            started=self._settings.started,
            work_seen=self._work_seen,
            lifetime=self._settings.lifetime,
            idle_timeout=self._settings.idle_timeout,
            running=len(self._jobs),
            taken=self._taken,
            max_jobs=self._settings.max_jobs,
            signalled=self._signals.received is not None,
            paused=control.status is Status.PAUSED,
            closed=control.status is Status.CLOSED,
            cancelled=control.cancel,
            abandoned=control.abandoned,
            dismissed=self._settings.name in control.drain,
            drained=self._drained,
            refused_for_age=self._refused_for_age,
            expired=self._identity is not None and self._identity.expired,
        )

    def _running(self) -> list[Need]:
        return [job.need for job in self._jobs if not job.freed and not job.held]

    def _has_room(self, pulse: Pulse) -> bool:
        """Whether to look for work at all: something is free, and nobody waits to get it."""
        if self._full or any(job.held for job in self._jobs):
            return False
        return self._packing.fits(_LEAST, self._running(), pulse.control.slots)

    def _claim(self, pulse: Pulse, situation: Situation) -> Claim | None:
        name, running = self._settings.name, self._running()
        self._refused_for_age = False
        self._too_big = None

        def fits(need: Need) -> bool:
            return self._packing.fits(need, running, pulse.control.slots)

        def accept(text: str) -> bool:
            need = self._runnable(text, situation)
            return need is not None and fits(need)

        overdue = self._passed_over.overdue(situation.now)
        if overdue:
            self._passed_over.forget(overdue)
            claim = self._queue.claim(name, lambda text: Need.parse(text) in overdue)
            if claim is not None:
                return claim
        claim = self._queue.claim(name, accept)
        for text in self._queue.needs():
            need = self._runnable(text, situation)
            if need is not None and not fits(need):
                self._passed_over.note(need, situation.now)
        if claim is not None:
            self._refused_for_age = False  # there was other work
        return claim

    def _runnable(self, text: str, situation: Situation) -> Need | None:
        """The need of a job that this machine could run if nothing else ran, else None."""
        need = Need.parse(text)
        if need is None:
            return None
        if not self._packing.fits_empty(need):
            self._too_big = need
            return None
        if not rules.has_time_for(situation, need.timeout):
            self._refused_for_age = True
            return None
        return need

    def _take(self, claim: Claim, pulse: Pulse, machine: Machine) -> None:
        """Start what was claimed. Its payload has the last word on what it needs."""
        try:
            job: CommandJob | InvalidJobError = CommandJob.from_payload(claim.payload)
        except InvalidJobError as error:
            job = error
        need = _LEAST if isinstance(job, InvalidJobError) else Need.of(job)
        self._passed_over.forget([need])
        if not self._packing.fits_empty(need):
            self._too_big = need
            self._give_back(claim, "needs a larger machine")
            return
        if not rules.has_time_for(self._situation(pulse), need.timeout):
            self._refused_for_age = True
            self._give_back(claim, "needs a younger machine")
            return
        if isinstance(job, CommandJob):
            self._journal.mask(secret_values(job, self._environment).values())
        try:
            running = RunningJob(
                claim,
                job,
                need,
                self._grant(need),
                machine,
                limit=lambda: Limit(*rules.time_limit(self._situation(pulse), need.timeout)),
                stopped_for=lambda: self._stopped_for(pulse),
                changed=self._signals.bell.ring,
                ending=self._journal.ended,
                held=not self._packing.fits(need, self._running(), pulse.control.slots),
            )
            if running.held:
                self._journal.worker(f"{running.name}  waits for the machine to empty")
            else:
                self._tell_start(running)
            running.start()
        except MachineError as failure:
            self._give_back(claim, "cannot start here", delay=0.0)
            self._rest(failure)
            return
        self._taken += 1
        self._misses = 0
        self._jobs.append(running)

    def _grant(self, need: Need) -> Grant:
        used = {running.grant.slot for running in self._jobs if not running.freed}
        return Grant(
            slot=next(number for number in itertools.count(1) if number not in used),
            cores=self._packing.cores(need),
            memory_mb=self._packing.share(need),
            machine_mb=self._settings.capacity.memory_mb,
        )

    def _tell_start(self, job: RunningJob) -> None:
        self._journal.started(
            job.name, attempt=job.claim.attempt, slot=job.grant.slot, waited=job.claim.waited
        )

    def _give_back(self, claim: Claim, why: str, *, delay: float = _GIVEN_BACK) -> None:
        """Leave to others what this worker cannot run after all."""
        with suppress(LeaseLostError):
            claim.release(delay)
            self._journal.worker(f"{claim.job.id}  released  it {why}")

    def _stopped_for(self, pulse: Pulse) -> Interruption | None:
        if self._failed or self._signals.received is not None:
            return Interruption.SIGNAL
        return Interruption.CANCEL if pulse.control.stopping else None

    def _collect(self) -> None:
        """Take note of jobs that have ended.

        Raises what ended a job's thread; a machine that fails is given another chance when nothing
        runs on it any more, for its jobs may have filled it.
        """
        ended = [job for job in self._jobs if job.ended]
        self._jobs = [job for job in self._jobs if not job.ended]
        for job in ended:
            self._misses = 0
            self._work_seen = time.monotonic()
            if job.record is not None:
                self._timeline.add(job.record)
                self._summary.add(job.record)
        for failure in (job.failure for job in ended if job.failure is not None):
            if not isinstance(failure, MachineError):
                raise failure
            self._rest(failure)
        if not self._jobs:
            self._full = False

    def _see_to_held(self, situation: Situation) -> None:
        for job in self._jobs:
            if not job.held:
                continue
            if not rules.may_begin(situation, job.need.timeout):
                job.give_back()
            elif self._packing.fits(job.need, self._running(), None):
                self._tell_start(job)
                job.begin()

    def _rest(self, failure: MachineError) -> None:
        """Wait for what the jobs have taken of a machine that is used up; raise without jobs."""
        if not self._jobs:
            raise failure
        if not self._full:
            self._journal.worker(f"claims nothing until its jobs have ended: {failure}")
        self._full = True

    def _part(self) -> None:
        """Let the jobs be stopped and settled, for a bounded time."""
        self._signals.heeded()
        deadline = time.monotonic() + _PARTING
        for job in self._jobs:
            job.look()
        while self._jobs and time.monotonic() < deadline:
            self._signals.bell.wait(deadline - time.monotonic())
            with suppress(QueueError, WorkerError):
                self._collect()
        if self._jobs:
            self._journal.worker(f"leaves {len(self._jobs)} jobs to their leases")

    def _size(self) -> str:
        capacity, slots = self._settings.capacity, self._settings.slots
        size = f"{spelled(capacity.millicores / 1000)}, {capacity.memory_mb} MB"
        return size if slots is None else f"{size}, {slots} jobs at a time"

    def _left_behind(self, leaving: Leaving) -> str:
        if leaving is not Leaving.IDLE or self._too_big is None:
            return ""
        return f", but a job waits that needs {self._too_big}: run a larger machine"

    def _report(self) -> dict[str, Any]:
        return {**self._info, "jobs": [job.claim.job.id for job in self._jobs]}

    @contextmanager
    def _machine(self) -> Iterator[Machine]:
        root = self._make_root()
        say = self._journal.worker
        with ExitStack() as stack:
            stack.callback(remove_tree, str(root))
            guards = stack.enter_context(closing(SpareGuards()))
            shared = shared_environment(self._environment)
            # Jobs of half a core have their servers too.
            most = self._settings.slots or max(1, self._settings.capacity.millicores // 500)
            servers = stack.enter_context(closing(Servers(root, shared, guards, most, say)))
            yield Machine(
                root=root,
                environment=self._environment,
                worker=self._settings.name,
                run_url=run_url(self._environment),
                prepared=Prepared(root / "prepared", self._settings.cache_mb),
                memory=stack.enter_context(MemoryWatch(self._settings.capacity.memory_mb)),
                guards=guards,
                servers=servers,
                logs=JobLogs(self._queue, say, lambda: self._signals.received is not None),
            )

    def _make_root(self) -> Path:
        parent = self._settings.work_dir
        try:
            if parent is not None:
                parent.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix="gha-worker-", dir=parent))
        except OSError as error:
            raise MachineError(str(parent or tempfile.gettempdir()), error) from error

    def _say_goodbye(self) -> None:
        """Write the rest of the timeline and leave; a store that hangs does not keep a worker."""
        farewell = threading.Thread(target=self._leave, name="leave", daemon=True)
        farewell.start()
        while farewell.is_alive() and self._signals.received is None:
            farewell.join(_FULL)
        farewell.join(_LAST_WORDS)

    def _leave(self) -> None:
        self._timeline.flush()
        try:
            self._queue.leave(self._settings.name)
        except QueueError as error:
            # Its entry ages out like that of a worker that died.
            self._journal.worker(f"could not say that it leaves: {error}")
