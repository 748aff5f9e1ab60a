"""Acts as GitHub's runner: starts a step on a terminal, cancels it, and looks at what is left.

A runner signals the entry process alone and not its group, which is why a step's last line is
``exec``: SIGINT, 7.5 seconds, SIGTERM, 2.5 seconds, then SIGKILL for the whole tree
(https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-cancellation).
"""

from __future__ import annotations

import ctypes
import os
import select
import shlex
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from process_watch import alive, command_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

_PR_SET_CHILD_SUBREAPER = 36
_CHUNK = 65536
_PATIENCE = 30.0


@dataclass(frozen=True)
class Timing:
    """Seconds that a cancelled step has after SIGINT, and then after SIGTERM."""

    interrupted: float = 7.5
    terminated: float = 2.5


class Step:
    """A workflow step: ``bash -e`` on a script whose last line replaces it with `command`.

    It leads a session of its own, on a terminal that this process holds the other end of.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], directory: Path
    ) -> None:
        script = directory / "step.sh"
        script.write_text(f"cd {shlex.quote(str(directory))}\nexec {shlex.join(command)}\n")
        self._terminal, theirs = os.openpty()
        self._process = subprocess.Popen(
            ["setsid", "--ctty", "bash", "-e", str(script)],
            env=dict(environment),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self._output = bytearray()
        self._hung_up = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self.kill()
        self.hang_up()

    @property
    def log(self) -> str:
        return self._output.decode(errors="replace")

    def wait(self, seconds: float = _PATIENCE) -> int:
        """The exit code of the entry process, negative for a signal."""
        return self._process.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        """Signal the entry process and nothing else."""
        self._process.send_signal(number)

    def cancel(self, timing: Timing) -> str:
        """Cancel as the runner does; what it took."""
        for number, seconds in (
            (signal.SIGINT, timing.interrupted),
            (signal.SIGTERM, timing.terminated),
        ):
            self.signal(number)
            with suppress(subprocess.TimeoutExpired):
                self.wait(seconds)
                return number.name
        self.kill()
        return signal.SIGKILL.name

    def kill(self) -> None:
        """Kill the entry process and everything below it."""
        kill([self._process.pid, *descendants(self._process.pid)])
        self.wait()

    def hang_up(self) -> None:
        """Let the terminal go, as when whoever looked at it has died."""
        self._hung_up.set()
        self._reader.join()

    def closes_its_output(self, seconds: float) -> bool:
        """Whether nobody holds the terminal any more, within so much time."""
        self._reader.join(seconds)
        return not self._reader.is_alive()

    def _read(self) -> None:
        # A terminal answers EIO when the last of those who had it open has closed it.
        with suppress(OSError):
            while not self._hung_up.is_set():
                if select.select([self._terminal], [], [], 0.05)[0]:
                    self._output += os.read(self._terminal, _CHUNK)
        os.close(self._terminal)


def descendants(root: int) -> list[int]:
    """Every process below `root`, by what the kernel says of their parents."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            pid = int(entry.name)
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:
        found += children.get(pid, ())
    return found[1:]


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Leftover:
    """A process that should have ended, and the job that it belongs to, empty for none."""

    pid: int
    command: str
    job: str


class Leftovers:
    """Finds what outlives those who started it, whichever way it went.

    Within its context this process adopts every process below it that loses its parent, so that
    none can leave its sight. Leaving the context ends them.
    """

    def __enter__(self) -> Self:
        _adopt_orphans(yes=True)
        self._before = set(descendants(os.getpid()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while pids := self._pids():
            kill(pids)
            for pid in pids:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.01)
        _adopt_orphans(yes=False)

    def found(self) -> list[Leftover]:
        """The processes that run now and did not when the context was entered."""
        return [
            Leftover(pid, command_line(pid), _job_of(pid)) for pid in self._pids() if alive(pid)
        ]

    def _pids(self) -> list[int]:
        return [pid for pid in descendants(os.getpid()) if pid not in self._before]


def _adopt_orphans(*, yes: bool) -> None:
    assert ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0) == 0


def _job_of(pid: int) -> str:
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, value = entry.partition(b"=")
            if name == b"GHA_WORKER_JOB":
                return value.decode(errors="replace")
    return ""
