"""Who is logged in where, with which gh, and what that login may do in the repository."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from gha_dispatch._access import read_login
from gha_dispatch._errors import DEFAULT_HOST, NoRepositoryError
from gha_dispatch._gh import find_gh
from gha_dispatch._github import GitHub
from gha_dispatch._patience import Patience
from gha_dispatch.cli import _options
from gha_dispatch.cli._output import print_json, print_rows

if TYPE_CHECKING:
    from gha_dispatch._access import Permissions
    from gha_dispatch._gh import Gh


@click.command()
@_options.repository_and_json
def whoami(repo: str | None, as_json: bool) -> None:
    """Show the login, gh and the access to the repository."""
    gh = find_gh()
    gh.check_version()
    try:
        repository = _options.repository(repo)
    except NoRepositoryError:
        if repo is not None:
            raise
        _without_repository(gh, as_json=as_json)
        return
    github = GitHub(gh, repository, sleep=_options.sleep)
    permissions, view = github.permissions(), github.about()
    if as_json:
        facts = _facts(repository.host, permissions.login, permissions.scopes, gh)
        rights = {"push": permissions.push, "admin": permissions.admin}
        print_json({**facts, "repository": view, **rights})
        return
    _print_login(repository.host, permissions.login, permissions.scopes, gh)
    print_rows(
        [
            ("repository", f"{view.full_name} ({view.visibility})"),
            ("access", _access(permissions, view.visibility)),
        ]
    )


def _without_repository(gh: Gh, *, as_json: bool) -> None:
    host = os.environ.get("GH_HOST") or DEFAULT_HOST
    patience = Patience(60.0, gh.timeout, 0.0, time.monotonic, _options.sleep)
    login = read_login(gh, host, patience)
    if as_json:
        facts = _facts(host, login.name, login.scopes, gh)
        print_json({**facts, "repository": None, "push": None, "admin": None})
        return
    _print_login(host, login.name, login.scopes, gh)
    print_rows([("repository", "none here: go to a clone, or name one with --repo")])


def _facts(host: str, login: str, scopes: frozenset[str] | None, gh: Gh) -> dict[str, object]:
    version = {"version": gh.version(), "path": os.fspath(gh.path)}
    return {"host": host, "login": login, "scopes": scopes, "gh": version}


def _print_login(host: str, login: str, scopes: frozenset[str] | None, gh: Gh) -> None:
    if scopes is None:
        shown = "a token without scopes: GitHub does not tell its permissions"
    else:
        shown = ", ".join(sorted(scopes)) or "none"
    print_rows(
        [
            ("host", host),
            ("account", login or "none: the token of a workflow or an app"),
            ("scopes", shown),
            ("gh", f"{gh.version()} ({gh.path})"),
        ]
    )


def _access(permissions: Permissions, visibility: str) -> str:
    """What the account's role and the token's scopes allow together."""
    if permissions.admin:
        role = "admin: may dispatch, and set secrets and variables"
    elif permissions.push:
        role = "write: may dispatch, and set secrets and variables"
    else:
        role = "read: may not dispatch"
    enough = {"repo", "public_repo"} if visibility == "public" else {"repo"}
    if permissions.scopes is not None and not permissions.scopes & enough:
        return f"{role}, but the login lacks the scope repo"
    return role
