"""One job on this machine: its directory, its preparation, its script, its result."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gha_worker._ending import Ended, Ending
from gha_worker._environment import Place, job_environment, secret_values
from gha_worker._errors import MachineError
from gha_worker._guard import remove_tree
from gha_worker._guarded import GuardedScript, Task
from gha_worker._result import TAIL_BYTES, CommandResult, Reason, masked_tail, overlap
from gha_worker._rules import GRACE, Interruption, Stage, conclude

if TYPE_CHECKING:
    from gha_queue import Claim
    from gha_worker._job import CommandJob
    from gha_worker._prepared import PreparedDirectories

Watch = Callable[[GuardedScript], "tuple[Ended, Interruption | None]"]
"""Waits until a script has ended, and says what the worker stopped it for."""


class LeaseRelay:
    """Hands every new deadline of a lease to the script that runs under it."""

    def __init__(self, deadline: float) -> None:
        self._lock = threading.Lock()
        self._script: GuardedScript | None = None
        self.deadline = deadline

    def extended(self, deadline: float) -> None:
        """The lease now lasts until `deadline`; called from the heartbeat's thread."""
        with self._lock:
            self.deadline = deadline
            if self._script is not None:
                self._script.extend(deadline)

    @contextmanager
    def feeding(self, script: GuardedScript) -> Iterator[None]:
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
    prepared: PreparedDirectories


@dataclass(frozen=True)
class Limit:
    """When a job is ended, in monotonic seconds, and the reason this will have."""

    at: float
    reason: Reason


@dataclass(frozen=True)
class Finished:
    """The result of a job, and what the worker stopped it for, if it did."""

    result: CommandResult
    interruption: Interruption | None


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
        raise MachineError(str(root), error) from error
    try:
        yield home
    finally:
        remove_tree(str(home))


class Execution:
    """Runs one claimed job in `home`; `relay` carries its lease to whatever runs."""

    def __init__(
        self, claim: Claim, job: CommandJob, machine: Machine, home: Path, relay: LeaseRelay
    ) -> None:
        self._job = job
        self._machine = machine
        self._home = home
        self._relay = relay
        prepare = job.prepare
        self._place = Place(
            job=claim.job.id,
            attempt=claim.attempt,
            worker=machine.worker,
            directory=str(home / "work"),
            temporary=str(home / "tmp"),
            run_url=machine.run_url,
            prepared=None if prepare is None else str(machine.prepared.path(prepare.key)),
        )

    def run(self, limit: Limit, watch: Watch) -> Finished:
        """Prepare if need be, run the script, and say how it went.

        Raises :class:`MachineError` when the machine cannot run the job.
        """
        before = 0.0
        prepare = self._job.prepare
        prepared = self._machine.prepared
        if prepare is not None and not prepared.ready(prepare.key):
            with self._machine_errors():
                directory = prepared.begin(prepare.key)
            ended, finished = self._stage(
                prepare.script, directory, Stage(preparing=True, limit=limit.reason), limit, watch
            )
            if ended.ending is not Ending.ITSELF or ended.exit_code != 0:
                return finished
            with self._machine_errors():
                prepared.commit(prepare.key)
            before = ended.seconds
        stage = Stage(preparing=False, limit=limit.reason)
        directory = Path(self._place.directory)
        _, finished = self._stage(self._job.script, directory, stage, limit, watch, before=before)
        return finished

    def _stage(
        self,
        script: str,
        directory: Path,
        stage: Stage,
        limit: Limit,
        watch: Watch,
        *,
        before: float = 0.0,
    ) -> tuple[Ended, Finished]:
        name = "prepare" if stage.preparing else "script"
        file, output = self._home / name, self._home / f"{name}.log"
        place = replace(self._place, directory=str(directory))
        with self._machine_errors():
            output.touch(mode=0o600)
            file.touch(mode=0o600)
            file.write_text(script, encoding="utf-8", errors="surrogatepass")
        task = Task(
            script=file,
            environment=job_environment(self._job, self._machine.environment, place),
            directory=directory,
            output=output,
            home=self._machine.root,
            deadline=self._relay.deadline,
            limit=limit.at,
            grace=GRACE,
        )
        with self._machine_errors():
            guarded = GuardedScript(task)
        with guarded, self._relay.feeding(guarded):
            ended, interruption = watch(guarded)
        result = conclude(
            self._job,
            stage,
            ended,
            interruption=interruption,
            before=before,
            tail=self._tail(output),
        )
        return ended, Finished(result, interruption)

    def _tail(self, output: Path) -> str:
        secrets = secret_values(self._job, self._machine.environment).values()
        reach = TAIL_BYTES + overlap(secrets)
        try:
            with output.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - reach))
                window = file.read(reach)
        except OSError:
            return ""  # the job has deleted it
        return masked_tail(window, secrets, skip=max(0, len(window) - TAIL_BYTES))

    @contextmanager
    def _machine_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MachineError(str(self._machine.root), error) from error
