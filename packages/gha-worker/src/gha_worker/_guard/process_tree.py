"""The processes below one process: finding, signalling, collecting and ending them.

Standard library only: the guard runs without the rest of this package.

On Linux a guard is a child subreaper: a process whose parent exits becomes the guard's child, so
no descendant can leave its sight. Elsewhere it finds them by parent and process group.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from typing import NamedTuple

LINUX = sys.platform == "linux"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SCORES_THAT_RESIST = (-900, 0)
_KILL_PAUSE = 0.01
_QUIET_LOOKS = 2
_CHUNK = 65536


class ProcessRow(NamedTuple):
    """One line of the process table.

    An `ended` process waits to be collected, or went during the look: then its parent is 0.
    """

    pid: int
    parent: int
    group: int
    ended: bool = False


def processes() -> list[ProcessRow]:
    """The process table."""
    if not LINUX:
        return _processes_by_ps()
    rows = []
    for name in os.listdir("/proc"):  # noqa: PTH208  # pathlib starts slowly
        if name.isdigit():
            try:
                rows.append(_row(name))
            except OSError:
                rows.append(ProcessRow(int(name), 0, 0, ended=True))
    return rows


def _row(pid: str) -> ProcessRow:
    descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    try:
        fields = os.read(descriptor, _CHUNK).rpartition(b")")[2].split()
    finally:
        os.close(descriptor)
    # A process whose first thread has ended looks like a zombie while its others run on.
    ended = fields[0] in b"ZX" and int(fields[17]) <= 1
    return ProcessRow(int(pid), int(fields[1]), int(fields[2]), ended)


def _processes_by_ps() -> list[ProcessRow]:
    import subprocess

    command = ["ps", "-axo", "pid=,ppid=,pgid=,stat="]
    table = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    rows = [line.split() for line in table.splitlines()]
    return [
        ProcessRow(int(pid), int(parent), int(group), state.startswith("Z"))
        for pid, parent, group, state in rows
    ]


def descendants(root: int, group: int | None = None) -> list[int]:
    """Every process below `root`, and every member of process group `group`, that has not ended."""
    table = processes()
    return sorted(_below(table, root, group) - {row.pid for row in table if row.ended})


def _below(table: list[ProcessRow], root: int, group: int | None) -> set[int]:
    children: dict[int, list[int]] = {}
    for row in table:
        children.setdefault(row.parent, []).append(row.pid)
    found = {row.pid for row in table if row.group == group}
    fresh = [root, *found]
    while fresh:
        new = [pid for parent in fresh for pid in children.get(parent, ()) if pid not in found]
        found.update(new)
        fresh = new
    return found - {root}


def send(pids: list[int], number: signal.Signals) -> int:
    """Signal each process; how many of them this user may not signal."""
    refused = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            try:
                os.kill(pid, number)
            except PermissionError:
                refused += 1
    return refused


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; real-time signals have numbers only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def become_subreaper() -> bool:
    """Adopt orphaned descendants; False where the system cannot do that."""
    return LINUX and _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, where it can."""
    if LINUX:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> bool:
    import ctypes

    try:
        return int(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)) == 0
    except (OSError, AttributeError):
        return False


def resist_oom_kill() -> None:
    """When memory runs out, have the kernel kill others first, as far as this user may ask for it.

    A step of GitHub Actions has 500, which its user may lower to 0; root may go below.
    """
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "rb") as file:  # noqa: PTH123  # likewise
        current = int(file.read())
        for score in _SCORES_THAT_RESIST:
            if score >= current or set_oom_score(score):
                return


def set_oom_score(score: int) -> bool:
    """From -1000 (the kernel never chooses this process) to 1000 (it does first); True if it took."""
    try:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:  # noqa: PTH123  # likewise
            file.write(b"%d" % score)
    except OSError:
        return False
    return True


class Tree:
    """Everything below this process, and the one of it that was started first."""

    def __init__(self) -> None:
        become_subreaper()
        self.pid = 0
        """The process that was started; set by whoever starts it."""
        self.status: int | None = None
        """The wait status of that process, None until it has ended."""
        self.peak_memory_mb: int | None = None
        """The most memory that one collected process had, None before the first."""
        # Readable when a child has ended: a signal alone would not wake a select that is about to
        # begin.
        self.child_exit, writer = os.pipe()
        os.set_blocking(self.child_exit, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def members(self) -> list[int]:
        return descendants(os.getpid(), self.pid)

    def reap(self) -> bool:
        """Collect ended children; whether anything may be left."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.child_exit, _CHUNK)
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                # A subreaper without children has no descendants at all.
                return not LINUX and bool(self.members())
            if pid == 0:
                return True
            kilobytes = usage.ru_maxrss if LINUX else usage.ru_maxrss // 1024
            self.peak_memory_mb = max(self.peak_memory_mb or 0, -(-kilobytes // 1024))
            if pid == self.pid:
                self.status = status

    def terminate(self) -> None:
        """Ask everything to end."""
        send(self.members(), signal.SIGTERM)

    def kill(self) -> None:
        """End everything, and return when it is gone.

        What belongs to another user cannot be ended and is left.
        """
        while self.reap():
            pids = self.members()
            if pids and send(pids, signal.SIGKILL) == len(pids):
                return
            select.select([self.child_exit], [], [], _KILL_PAUSE)

    def kill_others(self) -> None:
        """Likewise, for everything but the process that was started first."""
        looks = 0
        while looks < _QUIET_LOOKS:
            self.reap()
            table = processes()
            family = _below(table, os.getpid(), self.pid)
            ended = {
                row.pid for row in table if row.ended and (row.pid in family or not row.parent)
            }
            pids = sorted(family - ended - {self.pid})
            if send(pids, signal.SIGKILL) < len(pids):
                looks = 0
                select.select([self.child_exit], [], [], _KILL_PAUSE)
                continue
            # What ended during the look may have left a child that the look has missed.
            looks += 1 if ended else _QUIET_LOOKS
