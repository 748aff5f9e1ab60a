"""One claimed job, from here to its settled end, in a thread of its own."""

from __future__ import annotations

import errno
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from gha_queue import LeaseLostError
from gha_worker._bell import Bell
from gha_worker._errors import InvalidJobError, MachineError
from gha_worker._jobs.command_job import OnStop
from gha_worker._jobs.record import JobRecord
from gha_worker._jobs.result import CommandResult, Reason
from gha_worker._worker import rules
from gha_worker._worker.execution import Execution, Finished, LeaseRelay, job_directory
from gha_worker._worker.rules import Interruption, Settlement
from gha_worker._worker.settlement import settle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gha_queue import Claim
    from gha_worker._jobs.command_job import CommandJob
    from gha_worker._jobs.need import Need
    from gha_worker._worker.execution import Grant, Limit, Machine


class RunningJob:
    """A job that this worker holds.

    One that does not fit yet is `held`: its lease is kept alive, and nothing of it starts before
    :meth:`begin`, nor ever after :meth:`give_back`. It takes up the machine until `freed`, which is
    before it is settled; `ended` tells that its thread is done. `changed` is called from that
    thread at both moments, and `ending` with the record of the job and the file of its output while
    that is still there.

    Raises :class:`MachineError` when the machine has no descriptors left, as :meth:`start` does
    when it has no thread.
    """

    def __init__(
        self,
        claim: Claim,
        job: CommandJob | InvalidJobError,
        need: Need,
        grant: Grant,
        machine: Machine,
        *,
        limit: Callable[[], Limit],
        stopped_for: Callable[[], Interruption | None],
        changed: Callable[[], None],
        ending: Callable[[JobRecord, Path | None], None],
        held: bool = False,
    ) -> None:
        self.claim = claim
        self.job = job
        self.need = need
        self.grant = grant
        self.held = held
        self._given_back = False
        self.freed = False
        self.ended = False
        self.failure: Exception | None = None
        self.record: JobRecord | None = None
        self._machine = machine
        self._limit = limit
        self._stopped_for = stopped_for
        self._changed = changed
        self._ending = ending
        self._claimed = self._over = time.monotonic()
        try:
            self._bell = Bell()
        except OSError as error:
            raise MachineError(str(machine.root), error) from error
        self._relay = LeaseRelay(claim.deadline)
        self._execution: Execution | None = None
        self._thread = threading.Thread(target=self._run, name=f"job {claim.job.id}", daemon=True)

    @property
    def name(self) -> str:
        """What logs call it."""
        name = "" if isinstance(self.job, InvalidJobError) else self.job.name
        return name or self.claim.job.id

    def start(self) -> None:
        """Start its thread."""
        try:
            self._thread.start()
        except RuntimeError as error:
            self._bell.close()
            raise self._no_thread(error) from error

    def begin(self) -> None:
        """Let a held job start now."""
        self.held = False
        self._bell.ring()

    def give_back(self) -> None:
        """Leave a held job to other workers."""
        self._given_back = True
        self._bell.ring()

    def look(self) -> None:
        """Tell it that there may be a reason to stop."""
        self._bell.ring()

    def _no_thread(self, error: RuntimeError) -> MachineError:
        return MachineError(str(self._machine.root), OSError(errno.EAGAIN, str(error)))

    def _run(self) -> None:
        try:
            self._see_to_its_end()
        except Exception as failure:  # noqa: BLE001  # raised again by the worker's own thread
            self.failure = failure
        finally:
            self.freed = self.ended = True
            self._changed()
            self._bell.close()

    def _see_to_its_end(self) -> None:
        try:
            with job_directory(self._machine.root) as home:
                finished = None
                # Settling says in its turn that a lease was lost.
                with (
                    suppress(LeaseLostError),
                    self.claim.keep_alive(on_extended=self._relay.extended),
                ):
                    finished = self._run_in(home)
                self._free()
                if finished is not None:
                    self._settle(finished)
        except (MachineError, RuntimeError) as error:
            # Another machine can run this job; this one would only spoil more of them.
            self._free()
            self._settle(_unstarted(Interruption.SIGNAL), Settlement.RELEASE)
            if isinstance(error, RuntimeError):  # what Python has for a thread that cannot start
                raise self._no_thread(error) from error
            raise

    def _run_in(self, home: Path) -> Finished:
        if isinstance(self.job, InvalidJobError):
            bad = CommandResult(Reason.BAD_JOB, None, None, 0.0, str(self.job), "")
            return Finished(bad)
        while (interruption := self._interruption()) is None and self.held:
            self._bell.wait(1.0)
        if interruption is not None:
            return _unstarted(interruption)
        self._execution = Execution(
            self.claim,
            self.job,
            self._machine,
            grant=self.grant,
            home=home,
            relay=self._relay,
            bell=self._bell,
            interrupted=self._interruption,
        )
        return self._execution.run(self._limit())

    def _interruption(self) -> Interruption | None:
        if self.claim.lost.is_set():
            return Interruption.LEASE_LOST
        return self._stopped_for() or (Interruption.SIGNAL if self._given_back else None)

    def _free(self) -> None:
        self._over = time.monotonic()
        self.freed = True
        self._changed()

    def _settle(self, finished: Finished, settlement: Settlement | None = None) -> None:
        result = finished.result
        if settlement is None:
            settlement = rules.settlement(
                result.reason,
                ok=result.ok,
                interruption=finished.interruption,
                on_stop=self._on_stop(),
            )
        state = settle(
            self.claim, settlement, result, stopped=lambda: self._stopped_for() is not None
        )
        self.record = self._record(result, state)
        self._ending(self.record, None if self._execution is None else self._execution.output)

    def _on_stop(self) -> OnStop:
        if self._execution is None or isinstance(self.job, InvalidJobError):
            return OnStop.RELEASE  # what has not run can start again anywhere
        return self.job.on_stop

    def _record(self, result: CommandResult, state: str) -> JobRecord:
        def server_time(moment: float) -> float:
            return self.claim.since + moment - self._claimed

        began = self._execution
        prepare = began.prepare_began if began else None
        run = began.run_began if began else None
        return JobRecord(
            worker=self._machine.worker,
            job=self.claim.job.id,
            name=self.name,
            attempt=self.claim.attempt,
            slot=self.grant.slot,
            cores=self.grant.cores,
            memory_mb=self.grant.memory_mb,
            waited=self.claim.waited,
            claimed=self.claim.since,
            prepare_began=None if prepare is None else server_time(prepare),
            run_began=None if run is None else server_time(run),
            ended=server_time(self._over),
            settled=server_time(time.monotonic()),
            state=state,
            reason=result.reason.value if began or result.reason is Reason.BAD_JOB else None,
            exit_code=result.exit_code,
            signal=result.signal,
            peak_memory_mb=result.peak_memory_mb,
            message=result.message,
        )


def _unstarted(interruption: Interruption) -> Finished:
    reason = Reason.LEASE_LOST if interruption is Interruption.LEASE_LOST else Reason.STOPPED
    result = CommandResult(reason, None, None, 0.0, "It did not start here.", "")
    return Finished(result, interruption)
