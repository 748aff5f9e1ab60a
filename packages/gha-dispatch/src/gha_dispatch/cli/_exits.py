"""Exit codes: one table for every command, and which error means which."""

from __future__ import annotations

import enum

from gha_dispatch._errors import (
    ActionsDisabledError,
    DispatchError,
    GhNotFoundError,
    GhTooOldError,
    GitHubUnavailableError,
    NoRepositoryError,
    NotAuthenticatedError,
    PermissionDeniedError,
    RateLimitedError,
    RepositoryNotFoundError,
    SingleSignOnError,
    UnclearDispatchError,
    WaitTimeoutError,
    WorkflowDisabledError,
    WorkflowNotDispatchableError,
    WorkflowNotFoundError,
)


class Exit(enum.IntEnum):
    """How a command ended, as the shell sees it."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_READY = 4
    UNCLEAR = 5
    MACHINE = 6
    TIMED_OUT = 124
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANINGS = {
    Exit.OK: "done; a run that was waited for succeeded",
    Exit.REFUSED: "GitHub refuses, has no such thing, or the run did not succeed",
    Exit.USAGE: "wrong usage: an option, a name, a value",
    Exit.UNREACHABLE: "the network or GitHub fails, or limits the rate: try again later",
    Exit.NOT_READY: "gh, the login, the repository or the workflow is not ready for it",
    Exit.UNCLEAR: "whether a run was started is not confirmed",
    Exit.MACHINE: "this machine fails: a full disk, a broken output",
    Exit.TIMED_OUT: "the run did not end within the timeout",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
    Exit.PIPE_CLOSED: "whoever read the output went away",
}

_NOT_READY = (
    ActionsDisabledError,
    GhNotFoundError,
    GhTooOldError,
    NoRepositoryError,
    NotAuthenticatedError,
    PermissionDeniedError,
    RepositoryNotFoundError,
    SingleSignOnError,
    WorkflowDisabledError,
    WorkflowNotDispatchableError,
    WorkflowNotFoundError,
)


def exit_for(error: DispatchError) -> Exit:
    """Return the exit code that tells of this error."""
    if isinstance(error, UnclearDispatchError):
        return Exit.UNCLEAR
    if isinstance(error, WaitTimeoutError):
        return Exit.TIMED_OUT
    if isinstance(error, (GitHubUnavailableError, RateLimitedError)):
        return Exit.UNREACHABLE
    if isinstance(error, _NOT_READY):
        return Exit.NOT_READY
    return Exit.REFUSED
