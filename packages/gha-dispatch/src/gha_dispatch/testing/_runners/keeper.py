"""Runs one command and leaves nothing of it behind.

A process of its own, standard library only: `python -I keeper.py COMMAND...`. It takes orders on
stdin: `c` cancels as GitHub does, end of file kills. So a starter that dies in any way takes the
command with it. https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-cancellation
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

CANCEL_STEPS = ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5))
LAST_STEPS = 10.0  # seconds for the steps that run although the job was cancelled
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LINUX = sys.platform == "linux"


class Keeper:
    """One command, its session, and all its descendants."""

    def __init__(self, command: list[str]) -> None:
        libc = ctypes.CDLL(None) if LINUX else None
        if libc is not None:
            libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.code: int | None = None
        self.orders: bytes | None = b""
        self.wakeup = self._hear_children()

        def die_with_keeper() -> None:
            if libc is not None:
                libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

        self.child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_keeper,  # noqa: PLW1509 -- there is one thread here
        ).pid

    def run(self) -> int:
        """Wait for the command, or for an order; kill what is left; give its exit code."""
        while self.code is None and self.orders is not None:
            self._wait(None)
            if self.orders and b"c" in self.orders:
                self._cancel()
                break
        self._kill_all()
        return 1 if self.code is None else os.waitstatus_to_exitcode(self.code)

    def _cancel(self) -> None:
        # act kills the running step at once; GitHub signals its entry process first
        entries = _children().get(self.child, [])
        for number, seconds in CANCEL_STEPS:
            for entry in entries:
                _signal(entry, number)
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0 and self._goes_on():
                if not set(entries) & set(_children().get(self.child, [])):
                    break
                self._wait(min(left, 0.05))
        if self._goes_on():
            _signal(self.child, signal.SIGINT)
        deadline = time.monotonic() + LAST_STEPS
        while (left := deadline - time.monotonic()) > 0 and self._goes_on():
            self._wait(left)

    def _goes_on(self) -> bool:
        return self.code is None and self.orders is not None

    def _hear_children(self) -> int:
        # a handler, not SIG_IGN: the command would inherit the latter
        def hear(_number: int, _frame: FrameType | None) -> None: ...

        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, hear)
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        return reader

    def _wait(self, seconds: float | None) -> None:
        """Sleep until a child ends, an order comes or the time is over; take note of it."""
        ready, _, _ = select.select([0, self.wakeup], [], [], seconds)
        if self.wakeup in ready:
            os.read(self.wakeup, 4096)
        if 0 in ready:
            self.orders = os.read(0, 4096) or None
        self._reap()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.child:
                self.code = status

    def _kill_all(self) -> None:
        # again and again: a process can start another between the look and the blow
        while found := _descendants(os.getpid()):
            for pid in found:
                _signal(pid, signal.SIGKILL)
            self._reap()
            select.select([], [], [], 0.01)
        self._reap()


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _children() -> dict[int, list[int]]:
    """The living processes by their parent."""
    children: dict[int, list[int]] = {}
    for pid, parent in _linux_parents() if LINUX else _posix_parents():
        children.setdefault(parent, []).append(pid)
    return children


def _descendants(ancestor: int) -> list[int]:
    children = _children()
    found = list(children.get(ancestor, []))
    for pid in found:
        found += children.get(pid, [])
    return found


def _linux_parents() -> list[tuple[int, int]]:
    pairs = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text("utf-8", "replace")
        except OSError:
            continue
        state, parent = stat.rpartition(")")[2].split()[:2]
        if state != "Z":
            pairs.append((int(entry.name), int(parent)))
    return pairs


def _posix_parents() -> list[tuple[int, int]]:
    listing = subprocess.Popen(["ps", "-axo", "pid=,ppid="], stdout=subprocess.PIPE)
    output = listing.communicate()[0].decode()
    pairs = [(int(pid), int(parent)) for pid, parent in map(str.split, output.splitlines())]
    return [(pid, parent) for pid, parent in pairs if pid != listing.pid]


if __name__ == "__main__":
    sys.exit(Keeper(sys.argv[1:]).run() & 255)
