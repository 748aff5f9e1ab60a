"""The worker's side of the guard: one script as an object."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gha_worker._bell import wait_for
from gha_worker._guard.ending import Ended, Ending
from gha_worker._guard.guard import Lines
from gha_worker._guard.process_tree import (
    become_subreaper,
    descendants,
    processes,
    send,
    signal_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from typing_extensions import Self

_GUARD = Path(__file__).with_name("guard_process.py")
_GUARD_EXIT = 5.0
_ORPHAN_PAUSE = 0.01


@dataclass(frozen=True)
class Task:
    """What a guard is to run. `deadline` and `limit` are absolute seconds of time.monotonic.

    At `deadline` everything is killed at once; at `limit` it is asked to end and killed after
    `grace` seconds. `home` is deleted by the guard if the worker is gone. `title` stands for the
    shell in listings of processes and is neither ``sh`` nor begins with a dash, which bash would
    read as orders; its ``$BASH`` is then the user's login shell. `nice` is how much more the script
    yields to others than the worker does.
    """

    script: Path
    environment: Mapping[str, str]
    directory: Path
    output: Path
    home: Path
    deadline: float
    limit: float
    grace: float
    title: str = "job"
    nice: int = 5


class GuardProcess:
    """One guard from its start to its end. No method raises for a guard that has already gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._script: int | None = None
        with _starting:
            # The guard gets no environment: the job's own comes over the pipe, which no process
            # listing shows.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                start_new_session=True,
                bufsize=0,
            )
            _guards.add(self._process.pid)
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("both ends were asked to be pipes")
        self._control = self._process.stdin
        self._report = self._process.stdout
        self._lines = Lines(self._report.fileno())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def gone(self) -> bool:
        """Whether it has ended, as far as :meth:`hear` has come."""
        return self._lines.ended

    def fileno(self) -> int:
        """Readable as soon as :meth:`hear` has something new."""
        return self._report.fileno()

    def tell(self, message: Mapping[str, object]) -> None:
        """Hand over a message; safe to call from any thread."""
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            if self._control.closed:
                return
            with contextlib.suppress(BrokenPipeError):
                while data:
                    data = data[os.write(self._control.fileno(), data) :]

    def hear(self) -> list[dict[str, Any]]:
        """What it has said since. Never blocks."""
        messages = [json.loads(line) for line in self._lines.read()]
        for message in messages:
            self._script = message.get("started", self._script)
        return messages

    def bury(self) -> int:
        """End what a guard that has gone may have left behind; its exit code as Popen has it."""
        code = self._process.wait()
        _guards.discard(self.pid)
        if code != 0:
            _end_orphans(self.pid, self._script)
        return code

    def end(self) -> None:
        """Have it kill all that is below it, and wait until it has."""
        self.tell({"dismiss": True})
        with self._lock:
            self._control.close()
        give_up = time.monotonic() + _GUARD_EXIT
        while not self.gone and (left := give_up - time.monotonic()) > 0:
            wait_for(left, [self.fileno()])
            self.hear()
        if self.gone:
            self._process.wait()
        _guards.discard(self.pid)
        self._report.close()


class SpareGuards:
    """Keeps one guard started ahead, so that a job does not wait for a Python to begin.

    Safe to use from any thread. A spare costs its memory, some 10 MB, most of it shared.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._spare: GuardProcess | None = None
        self.refill()

    def take(self) -> GuardProcess:
        """The spare, or a new guard while there is none.

        Raises OSError when the machine has no process left to give.
        """
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.hear()
            if not spare.gone:
                return spare
            spare.end()
        return GuardProcess()

    def refill(self) -> None:
        """Start the next spare; for after the start of what the last one was taken for."""
        with self._lock:
            if self._spare is None and not self._closed:
                # Whoever needs it will try again and say what is wrong.
                with contextlib.suppress(OSError):
                    self._spare = GuardProcess()

    def close(self) -> None:
        """End the spare; guards that were taken are not touched."""
        with self._lock:
            self._closed = True
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.end()


class GuardedScript:
    """A running script. Leaving its context kills what is left of it.

    No method raises for a guard that has already gone: :meth:`poll` tells.
    """

    def __init__(self, task: Task, guards: SpareGuards | None = None) -> None:
        self._guard = GuardProcess() if guards is None else guards.take()
        self._guard.tell({"run": {**script_fields(task), **bounds_fields(task)}})
        if guards is not None:
            guards.refill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._guard.end()

    @property
    def guard_pid(self) -> int:
        return self._guard.pid

    def fileno(self) -> int:
        """Readable as soon as :meth:`poll` has something new."""
        return self._guard.fileno()

    def extend(self, deadline: float) -> None:
        """Let the script run until `deadline`; safe to call from any thread."""
        self._guard.tell({"deadline": deadline})

    def stop(self, grace: float) -> None:
        """Ask the script to end, and kill it after `grace` seconds."""
        self._guard.tell({"stop": grace})

    def poll(self) -> Ended | None:
        """How the script ended, None while it runs. Never blocks.

        Raises OSError when the machine had no process for it.
        """
        for message in self._guard.hear():
            if "refused" in message:
                raise OSError(errno.EAGAIN, message["refused"])
            if "ended" in message:
                return ended(message)
        return guard_died(self._guard.bury()) if self._guard.gone else None


def script_fields(task: Task) -> dict[str, object]:
    """What a guard must know to start a script."""
    return {
        "script": str(task.script),
        "env": dict(task.environment),
        "cwd": str(task.directory),
        "output": str(task.output),
        "home": str(task.home),
        "title": task.title,
        "nice": task.nice,
    }


def bounds_fields(task: Task) -> dict[str, object]:
    """Until when something may run."""
    return {"deadline": task.deadline, "limit": task.limit, "grace": task.grace}


def ended(message: Mapping[str, Any]) -> Ended:
    """What a guard's last message about a script says."""
    return Ended(
        Ending(message["ended"]),
        message["exit_code"],
        message["signal"],
        message["seconds"],
        message["peak_memory_mb"],
    )


def guard_died(code: int) -> Ended:
    """How a script ended whose guard ended so, without a word."""
    return Ended(Ending.GUARD_DIED, None, signal_name(-code) if code < 0 else None, 0.0)


def adopt_orphans() -> None:
    """Let processes that outlive a killed guard become children of this process, to be ended.

    For a process that starts guards and nothing else: it cannot tell such an orphan from a child
    that another part of the program started.
    """
    global _adopting  # noqa: PLW0603  # it is a property of the process
    _adopting = become_subreaper()


_adopting = False
_guards: set[int] = set()
_starting = threading.Lock()
"""Held while a child of this process may be a guard that is not yet among `_guards`."""


def _end_orphans(guard: int, group: int | None) -> None:
    while True:
        left = set(descendants(guard, group))
        if _adopting:
            me = os.getpid()
            with _starting:
                orphans = {row.pid for row in processes() if row.parent == me} - _guards
            left |= orphans.union(*(descendants(orphan) for orphan in orphans))
        refused = send(sorted(left), signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if len(left) == refused:
            return
        time.sleep(_ORPHAN_PAUSE)
