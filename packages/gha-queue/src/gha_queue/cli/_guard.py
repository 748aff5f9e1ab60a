"""Ends a command whose worker cannot: because it was killed, or slept through its deadline.

Run as a process of its own, `python -I -S _guard.py`, with the standard library alone. Each line
on its stdin names a process group and until when it may run, on the monotonic clock that all
processes of a machine share; group 0 is none. When stdin ends, the worker is gone.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

PATIENCE = 5.0
POLL = 0.05


def end_group(group: int) -> None:
    """Ask every process of a group to end, and kill what is left after some seconds."""
    give_up = time.monotonic() + PATIENCE
    signal_group(group, signal.SIGTERM)
    while time.monotonic() < give_up and signal_group(group, 0):
        time.sleep(POLL)
    signal_group(group, signal.SIGKILL)


def signal_group(group: int, number: int) -> bool:
    """Send a signal to a group; whether there is one to be signalled."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Guard:
    """The worker's side: use it in a `with` block. Safe to call from two threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._group = 0
        # A session of its own: no Ctrl-C ends the guard before its worker.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def watch(self, group: int, deadline: float) -> None:
        with self._lock:
            self._group = group
            self._send(deadline)

    def extend(self, deadline: float) -> None:
        """Move the deadline of what is watched, if anything still is."""
        with self._lock:
            if self._group:
                self._send(deadline)

    def forget(self) -> None:
        with self._lock:
            self._group = 0
            self._send(0.0)

    def _send(self, deadline: float) -> None:
        if self._process.stdin is not None:
            # A guard that somebody killed is missed only when its worker is killed as well.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._process.stdin.fileno(), f"{self._group} {deadline!r}\n".encode())


def main() -> None:
    """Watch until stdin ends."""
    group, deadline, unread = 0, math.inf, b""
    while True:
        left = max(0.0, deadline - time.monotonic()) if group else None
        if not select.select([0], [], [], left)[0]:
            end_group(group)
            group = 0
            continue
        chunk = os.read(0, 4096)
        if not chunk:
            break
        *lines, unread = (unread + chunk).split(b"\n")
        for line in lines:
            number, until = line.split()
            group, deadline = int(number), float(until)
    if group:
        end_group(group)


if __name__ == "__main__":
    main()
