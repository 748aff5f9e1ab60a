"""What the end of a job means to a shell: an exit code, and a sentence where that is not enough."""

from __future__ import annotations

import enum
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gha_worker._errors import InvalidResultError
from gha_worker._jobs.result import CommandResult, Reason

if TYPE_CHECKING:
    from gha_queue import Outcome

_SIGNALLED = 128


class Exit(enum.IntEnum):
    """Exit codes of ``gha-worker submit`` that are not the command's own."""

    OK = 0
    USAGE = 2
    LOST = 121
    CANCELLED = 122
    SOME_FAILED = 123
    TIMED_OUT = 124
    NEVER_RAN = 125
    OUT_OF_MEMORY = _SIGNALLED + signal.SIGKILL
    PIPE_CLOSED = _SIGNALLED + signal.SIGPIPE


MEANINGS = {
    "0": "the command succeeded; with --lines all of them did",
    "1-255": "the exit code of the command; 128+N when signal N ended it",
    "2": "wrong usage",
    "121": "its worker was lost, stopped or too old before it ended: put it again",
    "122": "somebody cancelled the job",
    "123": "--lines: at least one job did not succeed",
    "124": "its time limit was over",
    "125": "it never ran: its preparation failed; or the queue or the output cannot be used",
    "130": "cancelled by Ctrl-C; 129 and 143 by SIGHUP and SIGTERM, 141 when nobody reads on",
    "137": "its machine ran out of memory, or SIGKILL ended it",
}

_CODES = {
    Reason.TIMEOUT: Exit.TIMED_OUT,
    Reason.OUT_OF_MEMORY: Exit.OUT_OF_MEMORY,
    Reason.PREPARE_FAILED: Exit.NEVER_RAN,
    Reason.BAD_JOB: Exit.NEVER_RAN,
}


@dataclass(frozen=True)
class Verdict:
    """The exit code of a job; `message` is empty where the code says it all.

    `tail` is the end of its output as its result has it.
    """

    code: int
    message: str
    tail: str


def verdict(outcome: Outcome) -> Verdict:
    """What the final `outcome` of a command job means."""
    from gha_queue import OutcomeKind

    if outcome.kind is OutcomeKind.CANCELLED:
        return Verdict(Exit.CANCELLED, "The job was cancelled.", "")
    succeeded = outcome.kind is OutcomeKind.SUCCEEDED
    if not succeeded and outcome.kind is not OutcomeKind.FAILED:
        where = f"worker {outcome.worker}" if outcome.worker else "its worker"
        message = f"The job was lost with {where}; submit it again, or with more --attempts."
        return Verdict(Exit.LOST, message, "")
    try:
        result = CommandResult.from_json(outcome.result if succeeded else outcome.error)
    except InvalidResultError as error:
        return Verdict(Exit.OK if succeeded else Exit.NEVER_RAN, str(error), "")
    if result.reason is not Reason.EXITED:
        return Verdict(_CODES.get(result.reason, Exit.LOST), result.message, result.tail)
    if result.exit_code is not None:
        return Verdict(result.exit_code, "", result.tail)
    return Verdict(_SIGNALLED + _number(result.signal), result.message, result.tail)


def _number(name: str | None) -> int:
    """9 for ``SIGKILL``, 34 for ``SIG34``: real-time signals have numbers only."""
    try:
        return signal.Signals[name or ""]
    except KeyError:
        digits = (name or "").removeprefix("SIG")
        return int(digits) if digits.isdigit() else 0
