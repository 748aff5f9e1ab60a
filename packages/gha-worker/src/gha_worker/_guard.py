"""Runs one script and ends it, with every process it started, when its time is over.

Stand-alone: ``python -I -S _guard.py``, standard library only. It reads JSON lines on descriptor
0: first what to run, then ``{"deadline": t}`` and ``{"stop": grace}``. It writes JSON lines on
descriptor 1: ``{"started": pid}`` and ``{"ended": why, ...}``. All times are absolute seconds of
`time.monotonic`, which every process of a machine shares.

Whoever holds the other end of descriptor 0 is the worker. If it is frozen, no new deadline comes
and the last one ends the script; if it dies, the descriptor closes and that ends the script.

On Linux the guard is a child subreaper: a process whose parent exits becomes the guard's child, so
no descendant can leave its sight. Elsewhere it finds them by parent and process group.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import sys
import time
from typing import Any, NamedTuple, NoReturn

ENDED_ITSELF = "exited"
ENDED_BY_LIMIT = "limit"
ENDED_BY_STOP = "stop"
ENDED_BY_DEADLINE = "deadline"
ENDED_BY_ORPHANING = "orphaned"

_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_OOM_SCORE = "500"
_KILL_PAUSE = 0.01
_GRACE_POLL = 0.05
_CHUNK = 65536


class ProcessRow(NamedTuple):
    """One line of the process table."""

    pid: int
    parent: int
    group: int


def processes() -> list[ProcessRow]:
    """The process table; zombies are left out where the guard cannot reap them."""
    if not _LINUX:
        return _processes_by_ps()
    rows = []
    for name in os.listdir("/proc"):  # noqa: PTH208  # pathlib starts slowly
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123  # likewise
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        rows.append(ProcessRow(int(name), int(fields[1]), int(fields[2])))
    return rows


def _processes_by_ps() -> list[ProcessRow]:
    import subprocess

    command = ["ps", "-axo", "pid=,ppid=,pgid=,stat="]
    table = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    rows = [line.split() for line in table.splitlines()]
    return [ProcessRow(*map(int, row[:3])) for row in rows if not row[3].startswith("Z")]


def descendants(root: int, group: int | None = None) -> list[int]:
    """Every process below `root`, and every member of process group `group`."""
    table = processes()
    children: dict[int, list[int]] = {}
    for row in table:
        children.setdefault(row.parent, []).append(row.pid)
    found = {row.pid for row in table if row.group == group}
    fresh = [root, *found]
    while fresh:
        new = [pid for parent in fresh for pid in children.get(parent, ()) if pid not in found]
        found.update(new)
        fresh = new
    return sorted(found - {root})


def become_subreaper() -> bool:
    """Adopt orphaned descendants; False where the system cannot do that."""
    return _LINUX and _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> bool:
    import ctypes

    try:
        return int(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)) == 0
    except (OSError, AttributeError):
        return False


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


def remove_tree(path: str) -> None:
    """Delete a directory as far as this user can, read-only directories in it included."""
    import shutil

    for parent, directories, _ in os.walk(path):
        for name in directories:
            with contextlib.suppress(OSError):
                directory = os.path.join(parent, name)  # noqa: PTH118  # likewise
                if not os.path.islink(directory):  # noqa: PTH114  # likewise
                    os.chmod(directory, 0o700)  # noqa: PTH101  # likewise
    shutil.rmtree(path, ignore_errors=True)


class Guard:
    """One script from its start to the end of its last descendant."""

    def __init__(self, control: int, report: int) -> None:
        self._control = control
        self._report = report
        self._unread = b""
        self._pid = 0
        self._status: int | None = None
        self._deadline = math.inf
        self._limit = math.inf
        self._grace = 0.0
        self._kill_at = math.inf
        self._ending: str | None = None
        self._child_exit, self._child_exit_writer = os.pipe()

    def run(self) -> None:
        """Read what to run, run it, report how it ended."""
        messages: list[dict[str, Any]] = []
        while not messages:
            received = self._receive()
            if received is None:
                return
            messages = received
        task = messages[0]
        self._deadline, self._limit = task["deadline"], task["limit"]
        self._grace = task["grace"]
        become_subreaper()
        self._watch_signals()
        started = time.monotonic()
        self._pid = start(task)
        self._say({"started": self._pid})
        for message in messages[1:]:
            self._obey(message)
        self._watch()
        ended = time.monotonic()
        self._kill_everything()
        if self._ending == ENDED_BY_ORPHANING:
            remove_tree(task["home"])
        code = os.waitstatus_to_exitcode(self._status or 0)
        self._say(
            {
                "ended": self._ending or ENDED_ITSELF,
                "exit_code": code if code >= 0 else None,
                "signal": signal_name(-code) if code < 0 else None,
                "seconds": ended - started,
            }
        )

    def _watch(self) -> None:
        while True:
            children = self._reap()
            # A script that was asked to end leaves its children the rest of the grace; what a
            # script leaves behind by itself is ended at once.
            if self._status is not None and (self._ending is None or not self._left(children)):
                return
            now = time.monotonic()
            if now >= self._deadline:
                self._ending = ENDED_BY_DEADLINE
                return
            if now >= self._kill_at:
                return
            if now >= self._limit and self._ending is None:
                self._terminate(ENDED_BY_LIMIT, self._grace)
            if not self._wait(now):
                self._ending = ENDED_BY_ORPHANING
                return

    def _wait(self, now: float) -> bool:
        """Sleep until something happens; False when the worker is gone."""
        look_again = self._limit if self._ending is None else now + _GRACE_POLL
        next_change = min(self._deadline, self._kill_at, look_again)
        pause = None if math.isinf(next_change) else max(0.0, next_change - time.monotonic())
        ready, _, _ = select.select([self._control, self._child_exit], [], [], pause)
        self._forget_child_exits()
        if self._control in ready:
            messages = self._receive()
            if messages is None:
                return False
            for message in messages:
                self._obey(message)
        return True

    def _obey(self, message: dict[str, Any]) -> None:
        if "deadline" in message:
            self._deadline = max(self._deadline, message["deadline"])
        if "stop" in message and self._ending is None:
            self._terminate(ENDED_BY_STOP, message["stop"])

    def _terminate(self, why: str, grace: float) -> None:
        self._ending = why
        self._kill_at = time.monotonic() + grace
        send(descendants(os.getpid(), self._pid), signal.SIGTERM)

    def _kill_everything(self) -> None:
        while True:
            pids = descendants(os.getpid(), self._pid)
            refused = send(pids, signal.SIGKILL)
            if not self._left(self._reap()):
                return
            if pids and refused == len(pids):
                return  # processes of another user: nothing here can end them
            select.select([self._child_exit], [], [], _KILL_PAUSE)
            self._forget_child_exits()

    def _left(self, children: bool) -> bool:
        # A subreaper without children has no descendants at all.
        return children or (not _LINUX and bool(descendants(os.getpid(), self._pid)))

    def _reap(self) -> bool:
        """Collect ended children; whether any child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._pid:
                self._status = status

    def _watch_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.set_blocking(self._child_exit_writer, False)
        os.set_blocking(self._child_exit, False)
        signal.set_wakeup_fd(self._child_exit_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _forget_child_exits(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._child_exit, _CHUNK)

    def _receive(self) -> list[dict[str, Any]] | None:
        data = os.read(self._control, _CHUNK)
        if not data:
            return None
        *lines, self._unread = (self._unread + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._report, json.dumps(message).encode() + b"\n")


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; real-time signals have numbers only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def start(task: dict[str, Any]) -> int:
    """Start the script in a session of its own; its process id."""
    pid = os.fork()
    if pid == 0:
        _become_script(task)
    return pid


def _become_script(task: dict[str, Any]) -> NoReturn:
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
        if _LINUX:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            _prefer_for_oom()
        output = os.open(task["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(task["cwd"])
        os.execvpe("bash", ["bash", task["script"]], task["env"])  # noqa: S606  # no shell here
    except BaseException as error:  # noqa: BLE001  # nothing of the guard may go on here
        with contextlib.suppress(OSError):
            os.write(2, f"bash could not be started: {error}\n".encode())
    os._exit(127)


def _prefer_for_oom() -> None:
    # When memory runs out the script must go first: without its guard it would outlive its lease.
    with contextlib.suppress(OSError):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, _OOM_SCORE.encode())
        os.close(descriptor)


if __name__ == "__main__":
    Guard(0, 1).run()
