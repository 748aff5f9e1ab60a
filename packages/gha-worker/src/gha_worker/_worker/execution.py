"""One job on this machine: its directory, its preparation, its script, its result."""

from __future__ import annotations

import errno
import itertools
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gha_worker._errors import MachineError
from gha_worker._guard.ending import Ended, Ending
from gha_worker._guard.guard import remove_tree
from gha_worker._guard.guarded_script import GuardedScript, Task
from gha_worker._jobs.result import TAIL_BYTES, CommandResult, Reason
from gha_worker._machine.environment import Place, job_environment, secret_values
from gha_worker._machine.prepared import FailedPreparation, Turn
from gha_worker._telling.masks import Masker, masked_end
from gha_worker._worker.rules import GRACE, Interruption, Memory, Stage, conclude

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gha_queue import Claim
    from gha_worker._bell import Bell
    from gha_worker._guard.guarded_script import SpareGuards
    from gha_worker._guard.running import Running
    from gha_worker._guard.servers import Servers
    from gha_worker._jobs.command_job import CommandJob, Prepare
    from gha_worker._machine.memory import MemoryWatch
    from gha_worker._machine.prepared import Prepared, Ticket
    from gha_worker._telling.job_log import JobLogs

_LOOK = 1.0
_WAIT_FOR_PREPARATION = 0.5


class LeaseRelay:
    """Hands every new deadline of a lease to the script that runs under it."""

    def __init__(self, deadline: float) -> None:
        self._lock = threading.Lock()
        self._script: Running | None = None
        self.deadline = deadline

    def extended(self, deadline: float) -> None:
        """The lease now lasts until `deadline`; called from the heartbeat's thread."""
        with self._lock:
            self.deadline = deadline
            if self._script is not None:
                self._script.extend(deadline)

    @contextmanager
    def feeding(self, script: Running) -> Iterator[None]:
        """Extend `script` within this context, from the newest deadline on."""
        with self._lock:
            self._script = script
            script.extend(self.deadline)
        try:
            yield
        finally:
            with self._lock:
                self._script = None


@dataclass(frozen=True)
class Machine:
    """What the jobs of one worker share. Everything below `root` goes with the worker."""

    root: Path
    environment: Mapping[str, str]
    worker: str
    run_url: str | None
    prepared: Prepared
    memory: MemoryWatch
    guards: SpareGuards
    servers: Servers
    logs: JobLogs


@dataclass(frozen=True)
class Grant:
    """What a job got of its machine."""

    slot: int
    cores: float
    memory_mb: int
    machine_mb: int
    """The memory of the whole machine."""


@dataclass(frozen=True)
class Limit:
    """When a job is ended, in monotonic seconds, and the reason this will have."""

    at: float
    reason: Reason


@dataclass(frozen=True)
class Finished:
    """The result of a job, and what the worker stopped it for, if it did."""

    result: CommandResult
    interruption: Interruption | None = None


@dataclass(frozen=True)
class _Seen:
    """How a script ended under the eyes of its worker."""

    ended: Ended
    interruption: Interruption | None
    memory: Memory


_numbers = itertools.count(1)


@contextmanager
def job_directory(root: Path) -> Iterator[Path]:
    """A fresh directory for one job, for this user only and gone afterwards.

    Raises :class:`MachineError` when it cannot be made.
    """
    # A short path: sockets that a job makes in its TMPDIR have about 100 characters.
    home = root / str(next(_numbers))
    try:
        for part in (home, home / "work", home / "tmp"):
            part.mkdir(mode=0o700)
    except OSError as error:
        remove_tree(str(home))
        raise MachineError(str(root), error) from error
    try:
        yield home
    finally:
        remove_tree(str(home))


class Execution:
    """Runs one claimed job in `home`, once.

    `relay` carries its lease to whatever runs; `interrupted` says what the worker wants it stopped
    for, and `bell` rings when that may have changed.
    """

    def __init__(
        self,
        claim: Claim,
        job: CommandJob,
        machine: Machine,
        *,
        grant: Grant,
        home: Path,
        relay: LeaseRelay,
        bell: Bell,
        interrupted: Callable[[], Interruption | None],
    ) -> None:
        self._claim = claim
        self._job = job
        self._machine = machine
        self._memory = Memory(grant.memory_mb, grant.machine_mb)
        self._home = home
        self._relay = relay
        self._bell = bell
        self._interrupted = interrupted
        self._secrets = secret_values(job, machine.environment).values()
        self._place = Place(
            job=claim.job.id,
            attempt=claim.attempt,
            worker=machine.worker,
            slot=grant.slot,
            cores=grant.cores,
            memory_mb=grant.memory_mb,
            directory=str(home / "work"),
            temporary=str(home / "tmp"),
            run_url=machine.run_url,
        )
        self.output: Path | None = None
        """What the script that began last has printed."""
        self.prepare_began: float | None = None
        self.run_began: float | None = None

    def run(self, limit: Limit) -> Finished:
        """Prepare if need be, run the script, and say how it went.

        Raises :class:`MachineError` when the machine cannot run the job.
        """
        try:
            if self._job.prepare is None:
                return self._run_script(limit, None)
            with self._machine.prepared.enter(self._job.prepare.key) as ticket:
                self._place = replace(self._place, prepared=str(ticket.directory))
                unprepared = self._prepare(ticket, self._job.prepare, limit)
                if unprepared is not None:
                    return unprepared
                try:
                    ticket.copy_template(Path(self._place.directory))
                except OSError as error:
                    if error.errno in _OF_THE_TEMPLATE:
                        return _no_copy(error)
                    raise
                return self._run_script(limit, ticket.directory)
        except OSError as error:
            raise MachineError(str(self._machine.root), error) from error

    def _prepare(self, ticket: Ticket, prepare: Prepare, limit: Limit) -> Finished | None:
        """See to it that the preparation is there; how the job ended if it is not."""
        began = time.monotonic()
        stage = Stage(preparing=True, limit=limit.reason)
        while True:
            turn = ticket.turn()
            if turn is Turn.READY:
                return None
            if self.prepare_began is None:
                self.prepare_began = began
            if turn is Turn.MINE:
                return self._prepare_here(ticket, prepare, stage, limit)
            if turn is Turn.FAILED and ticket.failure is not None:
                failure = ticket.failure
                return self._finish(stage, self._unstarted(failure.ended), tail=failure.tail)
            waited = time.monotonic() - began
            interruption = self._interrupted()
            if interruption is not None:
                stopped = Ended(Ending.STOP, None, None, waited)
                return self._finish(stage, self._unstarted(stopped, interruption))
            if time.monotonic() >= limit.at:
                late = Ended(Ending.LIMIT, None, None, waited)
                return self._finish(stage, self._unstarted(late))
            ticket.wait(_WAIT_FOR_PREPARATION)

    def _prepare_here(
        self, ticket: Ticket, prepare: Prepare, stage: Stage, limit: Limit
    ) -> Finished | None:
        place = replace(self._place, directory=str(ticket.directory), template=str(ticket.template))
        settled = False
        try:
            task = self._task(prepare.script, "prepare", place, limit)
            seen = self._see_through(self._start(task))
            tail = self._tail(task.output)
            if seen.ended.ending is Ending.ITSELF:
                settled = True
                if seen.ended.exit_code == 0:
                    ticket.done()
                    return None
                ticket.failed(FailedPreparation(seen.ended, tail))
            return self._finish(stage, seen, tail=tail)
        finally:
            if not settled:
                ticket.give_up()

    def _run_script(self, limit: Limit, prepared: Path | None) -> Finished:
        self.run_began = time.monotonic()
        before = self.run_began - (self.prepare_began or self.run_began)
        task = self._task(self._job.script, "script", self._place, limit)
        with ExitStack() as stack:
            if self._job.log:
                logs, masker = self._machine.logs, Masker(self._secrets)
                stack.enter_context(logs.following(self._claim, task.output, masker))
            served = self._served(task, prepared)
            seen = None if served is None else self._see_through(served)
            if seen is None or seen.ended.ending is Ending.DECLINED:
                # The server may have kept it waiting beyond the deadline that it came with.
                task = replace(task, deadline=self._relay.deadline)
                seen = self._see_through(self._start(task))
        stage = Stage(preparing=False, limit=limit.reason)
        return self._finish(stage, seen, before=before, tail=self._tail(task.output))

    def _served(self, task: Task, prepared: Path | None) -> Running | None:
        server = self._job.server
        if server is None:
            return None
        return self._machine.servers.begin(
            task, server, prepared, self._claim.job.id, self._claim.attempt
        )

    def _start(self, task: Task) -> GuardedScript:
        return GuardedScript(task, self._machine.guards)

    def _task(self, script: str, name: str, place: Place, limit: Limit) -> Task:
        file, output = self._home / name, self._home / f"{name}.log"
        self.output = output
        output.touch(mode=0o600)
        file.touch(mode=0o600)
        file.write_text(script, encoding="utf-8", errors="surrogatepass")
        return Task(
            script=file,
            environment=job_environment(self._job, self._machine.environment, place),
            directory=Path(place.directory),
            output=output,
            home=self._machine.root,
            deadline=self._relay.deadline,
            limit=limit.at,
            grace=GRACE,
            title=f"gha-job {self._job.name or self._claim.job.id}",
        )

    def _see_through(self, running: Running) -> _Seen:
        """Watch a script to its end, stopping it when the worker wants that."""
        interruption = None
        memory = self._machine.memory
        with (
            running,
            self._relay.feeding(running),
            memory.follow(running.guard_pid, self._memory.share, self._bell.ring) as use,
        ):
            while (ended := running.poll()) is None:
                if interruption is None:
                    condemned = Interruption.MEMORY if use.condemned else None
                    interruption = condemned or self._interrupted()
                    if interruption is not None:
                        running.stop(interruption.grace)
                self._bell.wait(_LOOK, [running])
        # What its end tells counts mapped files as well; it is for jobs too short for the watch.
        peak = use.peak_mb or ended.peak_memory_mb
        held = replace(self._memory, peak=peak, ran_out=use.machine_ran_out)
        return _Seen(ended, interruption, held)

    def _unstarted(self, ended: Ended, interruption: Interruption | None = None) -> _Seen:
        return _Seen(ended, interruption, self._memory)

    def _finish(
        self, stage: Stage, seen: _Seen, *, before: float = 0.0, tail: str = ""
    ) -> Finished:
        result = conclude(
            self._job,
            stage,
            seen.ended,
            seen.memory,
            interruption=seen.interruption,
            before=before,
            tail=tail,
        )
        return Finished(result, seen.interruption)

    def _tail(self, output: Path) -> str:
        try:
            tail, _ = masked_end(output, TAIL_BYTES, self._secrets)
        except OSError:
            return ""  # the job has deleted it
        return tail


# The job's fault, not the machine's: the next machine would prepare the same.
_OF_THE_TEMPLATE = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}
_SHOWN = 200


def _no_copy(error: OSError) -> Finished:
    message = (
        f"The preparation left {str(error.filename)[:_SHOWN]} for each job to copy, which cannot be"
        f" read ({error.strerror}); change or remove it at the end of prepare.script."
    )
    return Finished(CommandResult(Reason.PREPARE_FAILED, None, None, 0.0, message, ""))
