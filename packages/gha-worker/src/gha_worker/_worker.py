"""The worker: claims, runs, settles, leaves."""

from __future__ import annotations

import random
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
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
from gha_worker import _rules
from gha_worker._environment import run_url
from gha_worker._errors import InvalidJobError, MachineError
from gha_worker._execution import Execution, Finished, LeaseRelay, Limit, Machine, job_directory
from gha_worker._guard import remove_tree
from gha_worker._info import worker_info
from gha_worker._job import CommandJob
from gha_worker._prepared import PreparedDirectories
from gha_worker._pulse import Pulse
from gha_worker._result import CommandResult, Reason
from gha_worker._rules import Interruption, Leaving, Settlement, Situation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gha_queue import Claim, Queue
    from gha_worker._ending import Ended
    from gha_worker._guarded import GuardedScript
    from gha_worker._identity import Identity
    from gha_worker._journal import Journal
    from gha_worker._signals import StopSignals

REAP_PERIOD = 15.0
_WATCH_PERIOD = 1.0
_SETTLE_PAUSE = 0.5
_SETTLE_WHEN_SIGNALLED = 2.0


@dataclass(frozen=True)
class WorkerSettings:
    """How one worker behaves. `idle_timeout` and `lifetime` are in seconds.

    `started` is the monotonic time from which its machine's life is counted.
    """

    name: str
    idle_timeout: float
    lifetime: float
    started: float
    work_dir: Path | None = None


class Worker:
    """Runs the command jobs of `queue`, one at a time, until there is a reason to leave."""

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
        self._work_seen = self._reaped = time.monotonic()
        self._misses = 0
        self._faulty = False
        self._refused_for_age = False
        self._running: str | None = None
        self._info = worker_info(environment)

    def run(self) -> None:
        """Work until there is a reason to leave.

        Raises :class:`gha_queue.QueueError` when the queue cannot be used and
        :class:`MachineError` when this machine cannot run jobs; it has left by then.
        """
        name = self._settings.name
        if not self._queue.enroll(name, self._report()):
            self._journal.worker(f"worker {name} leaves: another worker has this name")
            return
        try:
            root = self._make_root()
            try:
                with Pulse(self._queue, name, self._report, self._signals.wake) as pulse:
                    self._journal.worker(f"worker {name} is ready")
                    leaving = self._work(pulse, self._machine(root))
            finally:
                remove_tree(str(root))
            self._journal.worker(f"worker {name} leaves: {leaving.value}")
        finally:
            self._leave()

    def _work(self, pulse: Pulse, machine: Machine) -> Leaving:
        while True:
            if pulse.failure is not None:
                raise pulse.failure
            situation = self._situation(pulse)
            try:
                leaving = _rules.why_leave(situation)
                if leaving is not None:
                    return leaving
                if _rules.may_claim(situation) and self._run_one(pulse, machine):
                    continue
                # Asked only after control was read as closed: in the other order a job that was
                # put in between would be left behind.
                if situation.closed:
                    drained = replace(situation, drained=self._queue.drained())
                    leaving = _rules.why_leave(drained)
                    if leaving is not None:
                        return leaving
                self._reap_now_and_then(situation.now)
                self._faulty = False
            except (StoreUnavailableError, RecordError) as error:
                if not self._faulty:
                    self._journal.worker(f"tries again: {error}")
                self._faulty = True
            self._misses += 1
            self._signals.wait(idle_pause(self._misses, self._chance()))

    def _situation(self, pulse: Pulse) -> Situation:
        control = pulse.control
        return Situation(
            now=time.monotonic(),
            started=self._settings.started,
            work_seen=self._work_seen,
            lifetime=self._settings.lifetime,
            idle_timeout=self._settings.idle_timeout,
            signalled=self._signals.received is not None,
            paused=control.status is Status.PAUSED,
            closed=control.status is Status.CLOSED,
            cancelled=control.cancel,
            abandoned=control.abandoned,
            refused_for_age=self._refused_for_age,
            expired=self._identity is not None and self._identity.expired,
        )

    def _run_one(self, pulse: Pulse, machine: Machine) -> bool:
        """Claim a job and see it to its end; False when there is none."""
        claim = self._queue.claim(self._settings.name)
        if claim is None:
            return False
        self._running = claim.job.id
        try:
            self._run(claim, pulse, machine)
        finally:
            self._running = None
            self._misses = 0
            self._work_seen = time.monotonic()
        return True

    def _run(self, claim: Claim, pulse: Pulse, machine: Machine) -> None:
        try:
            job = CommandJob.from_payload(claim.payload)
        except InvalidJobError as error:
            result = CommandResult(Reason.BAD_JOB, None, None, 0.0, str(error), "")
            self._settle(claim, claim.job.id, Settlement.FAIL_FOR_GOOD, result)
            return
        name = job.name or claim.job.id
        situation = self._situation(pulse)
        if _rules.why_leave(situation) is not None:
            self._give_back(claim, name)
            return
        if not _rules.has_time_for(situation, job.timeout):
            self._refused_for_age = True
            self._give_back(claim, name)
            return
        self._journal.job(name, f"running  attempt {claim.attempt}")
        relay = LeaseRelay(claim.deadline)
        try:
            with job_directory(machine.root) as home:
                # Settling says in its turn that a lease was lost.
                with suppress(LeaseLostError), claim.keep_alive(on_extended=relay.extended):
                    finished = Execution(claim, job, machine, home, relay).run(
                        Limit(*_rules.time_limit(situation, job.timeout)),
                        lambda script: self._watch(claim, pulse, script),
                    )
                self._settle_finished(claim, job, name, finished)
        except MachineError:
            # Another machine can run this job; this one would only spoil more of them.
            self._give_back(claim, name)
            raise

    def _watch(
        self, claim: Claim, pulse: Pulse, script: GuardedScript
    ) -> tuple[Ended, Interruption | None]:
        interruption = None
        while True:
            ended = script.poll()
            if ended is not None:
                return ended, interruption
            if interruption is None:
                interruption = self._interruption(claim, pulse)
                if interruption is not None:
                    lost = interruption is Interruption.LEASE_LOST
                    script.stop(0.0 if lost else _rules.GRACE)
            self._signals.wait(_WATCH_PERIOD, [script])

    def _interruption(self, claim: Claim, pulse: Pulse) -> Interruption | None:
        if claim.lost.is_set():
            return Interruption.LEASE_LOST
        if self._signals.received is not None:
            return Interruption.SIGNAL
        return Interruption.CANCEL if pulse.control.stopping else None

    def _settle_finished(
        self, claim: Claim, job: CommandJob, name: str, finished: Finished
    ) -> None:
        result = finished.result
        settlement = _rules.settlement(
            result.reason,
            ok=result.ok,
            interruption=finished.interruption,
            on_stop=job.on_stop,
        )
        self._settle(claim, name, settlement, result)

    def _give_back(self, claim: Claim, name: str) -> None:
        result = CommandResult(Reason.STOPPED, None, None, 0.0, "It did not start here.", "")
        self._settle(claim, name, Settlement.RELEASE, result)

    def _settle(
        self, claim: Claim, name: str, settlement: Settlement, result: CommandResult
    ) -> None:
        state = _state(settlement, result)
        began = time.monotonic()
        while True:
            try:
                _settle_once(claim, settlement, result)
                break
            except LeaseLostError:
                state = "lost"
                break
            except StoreUnavailableError:
                now = time.monotonic()
                signalled = self._signals.received is not None
                if now >= claim.deadline or (signalled and now > began + _SETTLE_WHEN_SIGNALLED):
                    state = "unsettled: the store does not answer"
                    break
                self._signals.wait(_SETTLE_PAUSE)
        self._journal.job(name, "cancelled" if claim.cancelled else state, result.seconds)

    def _reap_now_and_then(self, now: float) -> None:
        if now >= self._reaped + REAP_PERIOD:
            self._reaped = now
            self._queue.reap()

    def _report(self) -> dict[str, Any]:
        return {**self._info, "job": self._running}

    def _make_root(self) -> Path:
        parent = self._settings.work_dir
        try:
            if parent is not None:
                parent.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix="gha-worker-", dir=parent))
        except OSError as error:
            raise MachineError(str(parent or tempfile.gettempdir()), error) from error

    def _machine(self, root: Path) -> Machine:
        return Machine(
            root=root,
            environment=self._environment,
            worker=self._settings.name,
            run_url=run_url(self._environment),
            prepared=PreparedDirectories(root / "prepared"),
        )

    def _leave(self) -> None:
        try:
            self._queue.leave(self._settings.name)
        except QueueError as error:
            # Its entry ages out like that of a worker that died.
            self._journal.worker(f"could not say that it leaves: {error}")


def _state(settlement: Settlement, result: CommandResult) -> str:
    if settlement in (Settlement.FAIL, Settlement.FAIL_FOR_GOOD):
        return f"failed ({result.reason.value})"
    return str(settlement.value)


def _settle_once(claim: Claim, settlement: Settlement, result: CommandResult) -> None:
    if settlement is Settlement.COMPLETE:
        claim.complete(result.to_json())
    elif settlement is Settlement.FAIL:
        claim.fail(result.to_json())
    elif settlement is Settlement.FAIL_FOR_GOOD:
        claim.fail(result.to_json(), retry=False)
    elif settlement is Settlement.RELEASE:
        claim.release()
