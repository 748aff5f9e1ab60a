"""Who is logged in, what the login may do in the repository, and what the repository is."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from gha_dispatch._refusals import refusal, scopes

if TYPE_CHECKING:
    from gha_dispatch._gh import Gh, Json
    from gha_dispatch._patience import Patience
    from gha_dispatch._requests import Requests


@dataclass(frozen=True)
class Login:
    """The account that gh is logged in with, and the scopes of its token.

    `name` is empty for a token of no account, as GitHub Actions' own; `scopes` is None for a kind
    of token that has none.
    """

    name: str
    scopes: frozenset[str] | None


@dataclass(frozen=True)
class Permissions:
    """What the login may do in the repository.

    `scopes` is None for a token without scopes: a fine-grained one, or Actions' own. `push` and
    `admin` are the account's rights; GitHub does not tell which of them such a token has.
    """

    login: str
    scopes: frozenset[str] | None
    push: bool
    admin: bool


@dataclass(frozen=True)
class RepositoryView:
    """What GitHub says of the repository. `visibility` is public, private or internal."""

    full_name: str
    visibility: str
    default_branch: str
    is_fork: bool
    is_archived: bool
    url: str


def read_login(gh: Gh, host: str, patience: Patience) -> Login:
    """Ask the host who is logged in. One request."""
    answer = patience.answer(lambda: gh.api(host, "GET", "user"), repeat=True)
    held = scopes(answer.headers)
    if answer.status == HTTPStatus.FORBIDDEN and held is None and _has_no_account(answer.message):
        return Login("", None)
    if not answer.is_success:
        raise refusal(answer, host=host, action="read its own account")
    return Login(str(answer.body["login"]), held)


def read_view(body: Json) -> RepositoryView:
    """Read GitHub's record of a repository."""
    return RepositoryView(
        full_name=str(body["full_name"]),
        visibility=str(body.get("visibility") or ("private" if body["private"] else "public")),
        default_branch=str(body["default_branch"]),
        is_fork=bool(body.get("fork")),
        is_archived=bool(body.get("archived")),
        url=str(body["html_url"]),
    )


def read_permissions(login: Login, body: Json) -> Permissions:
    """Read what GitHub's record of a repository says of the login's rights."""
    rights = body.get("permissions") or {}
    return Permissions(
        login=login.name,
        scopes=login.scopes,
        push=bool(rights.get("push")),
        admin=bool(rights.get("admin")),
    )


def are_enabled(requests: Requests) -> bool | None:
    """Whether the repository runs workflows; None for a login that may not ask. One request."""
    answer = requests.send("GET", "/actions/permissions")
    if answer.status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
        return None
    return bool(requests.confirmed(answer, "read the Actions settings").body["enabled"])


def _has_no_account(message: str) -> bool:
    return "not accessible by integration" in message
