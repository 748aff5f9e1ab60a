"""From an HTTP answer that is no success to the error that names it."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from gha_dispatch._errors import (
    DispatchError,
    GitHubUnavailableError,
    InputsRejectedError,
    NotAuthenticatedError,
    PermissionDeniedError,
    RateLimitedError,
    RequestRejectedError,
    WorkflowNotDispatchableError,
)

if TYPE_CHECKING:
    from gha_dispatch._gh import Answer


def refusal(
    answer: Answer, *, host: str, action: str, dispatch: tuple[str, str] | None = None
) -> DispatchError:
    """The error for an answer outside 2xx.

    `dispatch` is (repository, workflow) when the answer is one to a dispatch: only there do
    GitHub's words for a 422 speak of inputs.
    """
    status, message = answer.status, answer.message
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return GitHubUnavailableError(host, f"HTTP {status}", status)
    if status == HTTPStatus.UNAUTHORIZED:
        return NotAuthenticatedError(host)
    if status == HTTPStatus.TOO_MANY_REQUESTS or (
        status == HTTPStatus.FORBIDDEN and _is_limit(answer)
    ):
        return RateLimitedError(_wait(answer))
    if status == HTTPStatus.FORBIDDEN:
        return PermissionDeniedError(host, action, message)
    named = (
        _of_dispatch(message, *dispatch)
        if dispatch and status == HTTPStatus.UNPROCESSABLE_ENTITY
        else None
    )
    return named or RequestRejectedError(action, status, message)


def _of_dispatch(message: str, repository: str, workflow: str) -> DispatchError | None:
    if re.search(r"workflow_dispatch|disabled", message):
        return WorkflowNotDispatchableError(repository, workflow, message)
    if re.search(r"input", message, re.IGNORECASE):
        return InputsRejectedError(workflow, message)
    return None


def _is_limit(answer: Answer) -> bool:
    # https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
    return (
        "retry-after" in answer.headers
        or answer.headers.get("x-ratelimit-remaining") == "0"
        or "rate limit" in answer.message.lower()
    )


def _wait(answer: Answer) -> float | None:
    seconds = answer.headers.get("retry-after", "")
    return float(seconds) if seconds.isdigit() else None
