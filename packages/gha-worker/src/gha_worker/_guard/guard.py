"""Runs one script and ends it, with every process it started, when its time is over.

A process of its own (`guard_process.py`), standard library only. It reads JSON lines on descriptor
0: first what to run, ``{"run": task}`` or ``{"serve": task}`` for a persistent server, then
``{"deadline": t}``, ``{"stop": grace}`` and, to end at once, ``{"dismiss": true}``. It writes JSON
lines on descriptor 1: ``{"started": pid}`` and ``{"ended": why, ...}``, or ``{"refused": why}`` when
the machine has no process for the script. All times are absolute seconds of `time.monotonic`, which
every process of a machine shares.

Whoever holds the other end of descriptor 0 is the worker. If it is frozen, no new deadline comes
and the last one ends the script; if it dies, the descriptor closes and that ends the script.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import select
import signal
import time
from typing import TYPE_CHECKING, Any, NoReturn

from gha_worker._guard.process_tree import (
    Tree,
    die_with_parent,
    resist_oom_kill,
    set_oom_score,
    signal_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDED_ITSELF = "exited"
ENDED_BY_LIMIT = "limit"
ENDED_BY_STOP = "stop"
ENDED_BY_DEADLINE = "deadline"
ENDED_BY_ORPHANING = "orphaned"
DECLINED = "declined"
SERVER_FAILED = "server-failed"

_OOM_SCORE = 900
_GRACE_POLL = 0.05
_CHUNK = 65536
_READS = 16

Message = dict[str, Any]


class NoProcessError(Exception):
    """The machine has none left to give."""


class Lines:
    """Whole lines from a descriptor, never waiting for one. `ended` at its end."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.ended = False
        self.unread = b""

    def read(self) -> list[bytes]:
        """The lines that have come; some may be left after a mebibyte."""
        lines: list[bytes] = []
        for _ in range(_READS):
            try:
                data = os.read(self.descriptor, _CHUNK)
            except BlockingIOError:
                break
            if not data:
                self.ended = True
                break
            *whole, self.unread = (self.unread + data).split(b"\n")
            lines += whole
        return lines


class Worker:
    """The other side: what it says, what it is told, whether it is there."""

    def __init__(self, control: int, report: int) -> None:
        self._lines = Lines(control)
        self._report = report
        self.dismissed = False
        """It needs this guard no more, and goes on."""

    @property
    def descriptor(self) -> int:
        return self._lines.descriptor

    @property
    def gone(self) -> bool:
        return self.dismissed or self._lines.ended

    def hear(self) -> list[Message]:
        """What it has said since."""
        messages = [json.loads(line) for line in self._lines.read()]
        self.dismissed |= any("dismiss" in message for message in messages)
        return messages

    def tell(self, message: Message) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._report, json.dumps(message).encode() + b"\n")


class Bounds:
    """Until when something may run, and why it has to end."""

    def __init__(self, message: Message) -> None:
        self.deadline: float = message["deadline"]
        self.limit: float = message["limit"]
        self.grace: float = message["grace"]
        self.kill_at = math.inf
        self.ending: str | None = None

    def next_change(self) -> float:
        """When to look again, whatever happens."""
        if self.ending is None:
            return min(self.deadline, self.limit)
        return min(self.deadline, self.kill_at, time.monotonic() + _GRACE_POLL)


class Guard:
    """What a script's guard and a server's have in common."""

    def __init__(self, worker: Worker, tree: Tree, home: str) -> None:
        self.worker = worker
        self.tree = tree
        self.home = home
        self.bounds: Bounds | None = None
        """Of what runs now."""

    def in_time(self) -> bool:
        """Ask what runs to end when its time is over; False when it must not run on at all."""
        bounds, now = self.bounds, time.monotonic()
        if bounds is None:
            return True
        if now >= bounds.deadline:
            bounds.ending = ENDED_BY_DEADLINE
            return False
        if now >= bounds.kill_at:
            return False
        if now >= bounds.limit and bounds.ending is None:
            self._terminate(bounds, ENDED_BY_LIMIT, bounds.grace)
        return True

    def wait(self, until: float, readable: list[int], writable: list[int]) -> None:
        """Sleep until something happens, `until` at the latest, and hear the worker."""
        if self.bounds is not None:
            until = min(until, self.bounds.next_change())
        pause = None if math.isinf(until) else max(0.0, until - time.monotonic())
        sources = [self.worker.descriptor, self.tree.child_exit, *readable]
        ready, _, _ = select.select(sources, writable, [], pause)
        if self.worker.descriptor in ready:
            for message in self.worker.hear():
                self.obey(message)

    def obey(self, message: Message) -> None:
        bounds = self.bounds
        if bounds is None:
            return
        if "deadline" in message:
            bounds.deadline = max(bounds.deadline, message["deadline"])
        if "stop" in message and bounds.ending is None:
            self._terminate(bounds, ENDED_BY_STOP, message["stop"])

    def clear(self) -> None:
        """End everything, and what nobody else will clean up."""
        self.tree.kill()
        if self.worker.gone and not self.worker.dismissed:
            remove_tree(self.home)

    def _terminate(self, bounds: Bounds, why: str, grace: float) -> None:
        bounds.ending = why
        bounds.kill_at = time.monotonic() + grace
        self.tree.terminate()


def run_script(worker: Worker, tree: Tree, task: Message, messages: list[Message]) -> None:
    """One script from its start to the end of its last descendant."""
    guard = Guard(worker, tree, task["home"])
    bounds = guard.bounds = Bounds(task)
    started = time.monotonic()
    tree.pid = start(task)
    worker.tell({"started": tree.pid})
    for message in messages:
        guard.obey(message)
    while True:
        left = tree.reap()
        # A script that was asked to end leaves its children the rest of the grace; what a script
        # leaves behind by itself is ended at once.
        if tree.status is not None and (bounds.ending is None or not left):
            break
        if not guard.in_time():
            break
        if worker.gone:
            bounds.ending = ENDED_BY_ORPHANING
            break
        guard.wait(math.inf, [], [])
    ended = time.monotonic()
    guard.clear()
    worker.tell(
        {
            "ended": bounds.ending or ENDED_ITSELF,
            **exit_status(tree.status or 0),
            "seconds": ended - started,
            "peak_memory_mb": tree.peak_memory_mb,
        }
    )


def exit_status(status: int) -> Message:
    """A wait status as an exit code or the name of a signal."""
    code = os.waitstatus_to_exitcode(status)
    return {
        "exit_code": code if code >= 0 else None,
        "signal": signal_name(-code) if code < 0 else None,
    }


def start(task: Message, passed: tuple[int, ...] = ()) -> int:
    """Start a script in a session of its own, with descriptors `passed`; its process id."""
    try:
        pid = os.fork()
    except OSError as error:
        raise NoProcessError(error.strerror) from error
    if pid == 0:
        _become_script(task, passed)
    return pid


def _become_script(task: Message, passed: tuple[int, ...]) -> NoReturn:
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
        die_with_parent()
        # When memory runs out the script must go first: without its guard it would outlive its
        # lease.
        set_oom_score(_OOM_SCORE)
        os.nice(task["nice"])
        output = os.open(task["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for descriptor in passed:
            os.set_inheritable(descriptor, True)  # noqa: FBT003  # it takes no keyword
        os.chdir(task["cwd"])
        # bash takes a name with "sh" after the last slash for an order to be less than bash.
        title = task["title"].replace("/", "|")
        os.execvpe("bash", [title, task["script"]], task["env"])  # noqa: S606  # no shell here
    except BaseException as error:  # noqa: BLE001  # nothing of the guard may go on here
        with contextlib.suppress(OSError):
            os.write(2, f"bash could not be started: {error}\n".encode())
    os._exit(127)


def remove_tree(path: str) -> None:
    """Delete a directory as far as this user can: of any depth, read-only directories included.

    What others put there meanwhile may stay.
    """
    with contextlib.suppress(OSError):
        if os.path.islink(path):  # noqa: PTH114  # pathlib starts slowly
            return
        os.chmod(path, 0o700)  # noqa: PTH101  # likewise
        left = [f"{path}/{name}" for name in os.listdir(path)]  # noqa: PTH208  # likewise
        # A directory in a directory is moved up before it is emptied: so no path gets longer than
        # these, whatever a job has built.
        fresh = (f"{path}/.{os.getpid()}.{number}" for number in itertools.count())
        while left:
            left = [moved for entry in left for moved in _remove(entry, fresh)]
        os.rmdir(path)  # noqa: PTH106  # likewise


def _remove(path: str, fresh: Iterator[str]) -> list[str]:
    """Delete a file, or a directory but for the directories in it; where these have been moved."""
    moved = []
    with contextlib.suppress(OSError):
        if os.path.islink(path) or not os.path.isdir(path):  # noqa: PTH112, PTH114  # likewise
            os.unlink(path)  # noqa: PTH108  # likewise
            return []
        os.chmod(path, 0o700)  # noqa: PTH101  # likewise
        with os.scandir(path) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        above = next(fresh)
                        os.chmod(entry.path, 0o700)  # noqa: PTH101  # likewise
                        os.rename(entry.path, above)  # noqa: PTH104  # likewise
                        moved.append(above)
                    else:
                        os.unlink(entry.path)  # noqa: PTH108  # likewise
        os.rmdir(path)  # noqa: PTH106  # likewise
    return moved


def main() -> None:
    """Wait for what to run, and run it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    resist_oom_kill()
    worker, tree = Worker(0, 1), Tree()
    messages: list[Message] = []
    while not messages and not worker.gone:
        select.select([worker.descriptor], [], [])
        messages = worker.hear()
    if worker.gone:
        return
    first, *rest = messages
    try:
        if "run" in first:
            run_script(worker, tree, first["run"], rest)
        else:
            from gha_worker._guard.server_guard import ServerGuard

            ServerGuard(worker, tree, first["serve"]).run(rest)
    except NoProcessError as error:
        worker.tell({"refused": str(error)})
    os._exit(0)  # the worker waits, and there is nothing to put in order
