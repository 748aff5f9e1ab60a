"""The worker's side of the guard: one script as an object."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gha_worker import _guard
from gha_worker._ending import Ended, Ending

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from typing_extensions import Self

_GUARD = Path(_guard.__file__)
_CHUNK = 65536
_GUARD_EXIT = 5.0
_ORPHAN_PAUSE = 0.01


@dataclass(frozen=True)
class Task:
    """What a guard is to run. `deadline` and `limit` are absolute seconds of time.monotonic.

    At `deadline` everything is killed at once; at `limit` it is asked to end and killed after
    `grace` seconds. `home` is deleted by the guard if the worker is gone.
    """

    script: Path
    environment: Mapping[str, str]
    directory: Path
    output: Path
    home: Path
    deadline: float
    limit: float
    grace: float


class GuardedScript:
    """A running script. Leaving its context kills what is left of it.

    No method raises for a guard that has already gone: :meth:`poll` tells.
    """

    def __init__(self, task: Task) -> None:
        self._lock = threading.Lock()
        self._unread = b""
        self._script: int | None = None
        # The guard gets no environment: the job's own comes over the pipe, which no process
        # listing shows.
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,
            bufsize=0,
        )
        if self._guard.stdin is None or self._guard.stdout is None:
            raise AssertionError("both ends were asked to be pipes")
        _guards.add(self._guard.pid)
        self._control = self._guard.stdin
        self._report = self._guard.stdout
        os.set_blocking(self._report.fileno(), False)
        self._tell(
            {
                "script": str(task.script),
                "env": dict(task.environment),
                "cwd": str(task.directory),
                "output": str(task.output),
                "home": str(task.home),
                "deadline": task.deadline,
                "limit": task.limit,
                "grace": task.grace,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(_GUARD_EXIT)
        _guards.discard(self._guard.pid)
        self._report.close()

    @property
    def guard_pid(self) -> int:
        return self._guard.pid

    def fileno(self) -> int:
        """Readable as soon as :meth:`poll` has something new."""
        return self._report.fileno()

    def extend(self, deadline: float) -> None:
        """Let the script run until `deadline`; safe to call from any thread."""
        self._tell({"deadline": deadline})

    def stop(self, grace: float) -> None:
        """Ask the script to end, and kill it after `grace` seconds."""
        self._tell({"stop": grace})

    def poll(self) -> Ended | None:
        """How the script ended, None while it runs. Never blocks."""
        while True:
            try:
                data = os.read(self._report.fileno(), _CHUNK)
            except BlockingIOError:
                return None
            if not data:
                return self._bury()
            *lines, self._unread = (self._unread + data).split(b"\n")
            for line in lines:
                message = json.loads(line)
                self._script = message.get("started", self._script)
                if "ended" in message:
                    return Ended(
                        Ending(message["ended"]),
                        message["exit_code"],
                        message["signal"],
                        message["seconds"],
                    )

    def _bury(self) -> Ended:
        code = self._guard.wait()
        _guards.discard(self._guard.pid)
        _end_orphans(self._guard.pid, self._script)
        name = _guard.signal_name(-code) if code < 0 else None
        return Ended(Ending.GUARD_DIED, None, name, 0.0)

    def _tell(self, message: Mapping[str, object]) -> None:
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            if self._control.closed:
                return
            with contextlib.suppress(BrokenPipeError):
                while data:
                    data = data[os.write(self._control.fileno(), data) :]


def adopt_orphans() -> None:
    """Let processes that outlive a killed guard become children of this process, to be ended.

    For a process that starts guards and nothing else: it cannot tell such an orphan from a child
    that another part of the program started.
    """
    global _adopting  # noqa: PLW0603  # it is a property of the process
    _adopting = _guard.become_subreaper()


_adopting = False
_guards: set[int] = set()


def _end_orphans(guard: int, group: int | None) -> None:
    while True:
        left = set(_guard.descendants(guard, group))
        if _adopting:
            me = os.getpid()
            orphans = {row.pid for row in _guard.processes() if row.parent == me} - _guards
            left |= orphans.union(*(_guard.descendants(orphan) for orphan in orphans))
        refused = _guard.send(sorted(left), signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if len(left) == refused:
            return
        time.sleep(_ORPHAN_PAUSE)
