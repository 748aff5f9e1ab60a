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
    RefNotFoundError,
    RepositoryNotFoundError,
    RequestRejectedError,
    SingleSignOnError,
    WorkflowNotDispatchableError,
)
from gha_dispatch._gh import token_variable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gha_dispatch._gh import Answer

_MOVED = {301, 302, 307, 308}
_URL = re.compile(r"url=(https?://[!-:<-~]+)")  # printable, up to a blank or a semicolon


def refusal(answer: Answer, *, host: str, action: str) -> DispatchError:
    """The error for an answer outside 2xx that is neither a rate limit nor a 404.

    `action` says what was asked, to stand after "GitHub does not let this login".
    """
    status, message = answer.status, answer.message
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return GitHubUnavailableError(host, f"HTTP {status}", status)
    if status == HTTPStatus.UNAUTHORIZED:
        return NotAuthenticatedError(host, token_variable(host))
    if status == HTTPStatus.FORBIDDEN:
        return _forbidden(answer, host, action)
    return RequestRejectedError(action, status, message)


def of_repository(answer: Answer, repository: str, action: str) -> DispatchError:
    """The error for a refused request to a repository."""
    if answer.status == HTTPStatus.NOT_FOUND:
        host = repository.partition("/")[0]
        remedy = ""
        if "repo" in missing_scopes(answer.headers):
            lacking = "A private repository needs the scope repo, which this login lacks."
            remedy = f" {lacking} {grant(host, 'repo')}"
        return RepositoryNotFoundError(repository, remedy=remedy)
    if answer.status in _MOVED:
        return RepositoryNotFoundError(repository, moved=True)
    return refusal(answer, host=repository.partition("/")[0], action=action)


def of_dispatch(answer: Answer, repository: str, workflow: str, ref: str) -> DispatchError:
    """The error for a refused dispatch: only there do GitHub's words for a 422 speak of inputs."""
    message = answer.message
    if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        if message.startswith("No ref found"):
            return RefNotFoundError(repository, ref)
        if "input" in message.lower():
            return InputsRejectedError(workflow, message)
        if "workflow_dispatch" in message:
            return WorkflowNotDispatchableError(repository, workflow, message)
    return of_repository(answer, repository, f"dispatch {workflow}")


def missing_scopes(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The scopes of which one would have done; none where scopes are enough or play no part."""
    held = scopes(headers)
    accepted = _split(headers.get("x-accepted-oauth-scopes", ""))
    return () if held is None or held & set(accepted) else accepted


def scopes(headers: Mapping[str, str]) -> frozenset[str] | None:
    """The scopes of the login, None for a kind of token that has none."""
    listed = headers.get("x-oauth-scopes")
    return None if listed is None else frozenset(_split(listed))


def _forbidden(answer: Answer, host: str, action: str) -> DispatchError:
    headers, message = answer.headers, answer.message
    if "x-github-sso" in headers or "SAML enforcement" in message:
        url = _URL.search(headers.get("x-github-sso", ""))
        return SingleSignOnError(host, url[1] if url else None)
    missing = missing_scopes(headers)
    if missing:
        remedy = f"The login lacks the scope {missing[0]}. {grant(host, missing[0])}"
        return PermissionDeniedError(action, message, remedy, missing)
    if scopes(headers) is None and "Resource not accessible" in message:
        missing = tuple(
            alternative.strip()
            for alternative in headers.get("x-accepted-github-permissions", "").split(";")
            if alternative.strip()
        )
        named = f"the permission {missing[0]}" if missing else "a permission for that"
        remedy = (
            f"The token lacks {named}. Grant it in the token's settings on "
            f"https://{host}/settings/personal-access-tokens, in a workflow under `permissions`, "
            f"or log in with `gh auth login --hostname {host}`."
        )
        return PermissionDeniedError(action, message, remedy, missing)
    if "archived" in message:
        return PermissionDeniedError(action, message, "`gh repo unarchive` brings it back.")
    return PermissionDeniedError(action, message, needs_write(host))


def grant(host: str, scope: str) -> str:
    """The remedy for a missing scope. gh refreshes only the logins that it keeps itself."""
    refresh = f"run `gh auth refresh --hostname {host} --scopes {scope}` and try again."
    variable = token_variable(host)
    if variable is None:
        return refresh[0].upper() + refresh[1:]
    return f"Set {variable} to a token that has the scope {scope}, or unset it, {refresh}"


def needs_write(host: str) -> str:
    """The remedy for an account whose role is too low."""
    return (
        "Use an account with write access to the repository; "
        f"`gh auth status --hostname {host}` shows which one is logged in."
    )


def _split(listed: str) -> tuple[str, ...]:
    return tuple(name for name in re.split(r"[,\s]+", listed) if name)
