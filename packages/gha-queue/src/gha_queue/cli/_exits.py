"""Exit codes: one table for every command, and which error means which."""

from __future__ import annotations

import enum
import errno

from gha_queue._errors import (
    BucketError,
    PutManyError,
    QueueError,
    StoreRefusedError,
    StoreUnavailableError,
    WaitTimeoutError,
)


class Exit(enum.IntEnum):
    """How a command ended, as the shell sees it."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    UNUSABLE = 4
    MACHINE = 5
    TIMED_OUT = 124
    HUNG_UP = 129
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    TERMINATED = 143


MEANINGS = {
    Exit.OK: "done",
    Exit.REFUSED: "the queue refuses, has no such job, or the job ended without success",
    Exit.USAGE: "wrong usage: an option, a value, a URL",
    Exit.UNREACHABLE: "the store gives no usable answer: try again later",
    Exit.UNUSABLE: "the place cannot hold a queue: bucket missing, forbidden, unsafe",
    Exit.MACHINE: "this machine fails: a full disk, no more processes",
    Exit.TIMED_OUT: "the job did not end within the timeout of `wait`",
    Exit.HUNG_UP: "the terminal of a worker went away",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
    Exit.PIPE_CLOSED: "whoever read the output went away",
    Exit.TERMINATED: "ended by SIGTERM",
}

# The failures of a machine that room on it cures.
NO_ROOM = frozenset(
    {errno.EAGAIN, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC}
)


def exit_for(error: QueueError) -> Exit:
    """Return the exit code that tells of this error."""
    if isinstance(error, PutManyError):
        return exit_for(error.failed[0][1])
    if isinstance(error, WaitTimeoutError):
        return Exit.TIMED_OUT
    if isinstance(error, StoreUnavailableError):
        return Exit.UNREACHABLE
    if isinstance(error, (BucketError, StoreRefusedError)):
        return Exit.UNUSABLE
    if isinstance(error, ValueError):  # the errors of what was given
        return Exit.USAGE
    return Exit.REFUSED
