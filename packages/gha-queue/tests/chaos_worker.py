"""A worker as a process of its own, for test_chaos: URL, name, log file, seconds per job.

Each line of the log is an event, a job and an attempt, written by one system call, so that it
survives SIGKILL. The worker leaves when the queue is closed and nothing is left to do.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from typing import TYPE_CHECKING

from gha_queue import LeaseLostError, Queue, Status, StoreUnavailableError

if TYPE_CHECKING:
    from gha_queue import Claim


def main(url: str, name: str, log: str, seconds: str) -> None:
    queue = Queue.attach(url)
    notes = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        with contextlib.suppress(StoreUnavailableError):
            claim = queue.claim(name)
            if claim is not None:
                run(claim, notes, float(seconds) * random.random())  # noqa: S311 - any time
            elif queue.reap() == 0 and queue.state().status is Status.CLOSED and queue.drained():
                return
            else:
                time.sleep(0.2)


def run(claim: Claim, notes: int, seconds: float) -> None:
    def note(event: str) -> None:
        os.write(notes, f"{event} {claim.job.id} {claim.attempt}\n".encode())

    note("start")
    try:
        with claim.keep_alive():
            claim.lost.wait(seconds)
        complete(claim)
    except LeaseLostError:
        note("lost")
    else:
        note("done")


def complete(claim: Claim) -> None:
    while True:
        try:
            claim.complete(os.getpid())
        except StoreUnavailableError:
            continue
        return


if __name__ == "__main__":
    main(*sys.argv[1:])
