"""The API of the account and of repositories: what they are, their commits and files."""

from __future__ import annotations

import base64
import re
import textwrap
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gha_dispatch.testing._api.access import Need, Token, refused
from gha_dispatch.testing._api.http import Request, Response
from gha_dispatch.testing._api.route import API, SERVER, Route, body_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gha_dispatch.testing._api.rate_limit import RateLimit
    from gha_dispatch.testing._git.repository import GitRepository, TreeEntry
    from gha_dispatch.testing._hosted import Hosted

KINDS = {"blob": "file", "tree": "dir", "commit": "submodule"}
READ_CONTENTS = Need("contents")


class RepositoryApi:
    """Answers for the hosted repository and, as public ones of other people, for `others`."""

    def __init__(
        self,
        *,
        hosted: Hosted,
        others: Mapping[str, GitRepository],
        token: Token,
        limit: RateLimit,
    ) -> None:
        self._hosted = hosted
        self._others = {name.lower(): git for name, git in others.items()}
        self._token = token
        self._limit = limit

    def routes(self) -> list[Route]:
        """The addresses of this part."""
        own = f"/repos/({re.escape(self._hosted.git.name)})"
        routes = [
            Route("GET", "/", self._root),
            Route("GET", "/user", self._user),
            Route("GET", "/rate_limit", self._rate_limit),
            Route(
                "GET",
                f"{own}/actions/permissions",
                self._actions,
                Need("administration", role="admin"),
            ),
            Route(
                "PUT",
                f"{own}/actions/permissions",
                self._set_actions,
                Need("administration", "write", "admin"),
            ),
        ]
        for name, needs in ((own, (Need(), READ_CONTENTS)), ("/repos/([^/]+/[^/]+)", (None, None))):
            routes += [
                Route("GET", name, self._repository, needs[0]),
                Route("GET", f"{name}/commits/(.+)", self._commit, needs[1]),
                Route("GET", f"{name}/contents/?(.*)", self._contents, needs[1]),
            ]
        return routes

    def _root(self, _request: Request) -> Response:
        return Response(HTTPStatus.OK, {"current_user_url": f"{API}/user"})

    def _user(self, _request: Request) -> Response:
        login = self._token.login
        body = {"login": login, "id": 1, "type": "User", "html_url": f"{SERVER}/{login}"}
        return Response(HTTPStatus.OK, body)

    def _rate_limit(self, _request: Request) -> Response:
        state = self._limit.state()
        return Response(HTTPStatus.OK, {"resources": {"core": state}, "rate": state})

    def _repository(self, _request: Request, name: str) -> Response:
        view = self.view(name)
        if view is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        return Response(HTTPStatus.OK, view)

    def view(self, name: str) -> dict[str, Any] | None:
        """A repository as the REST API shows it; None for what is unknown or hidden."""
        git = self._git(name)
        is_own = git is self._hosted.git
        if git is None or (is_own and self._refusal() is not None):
            return None
        owner, _, short = git.name.partition("/")
        kind = "Organization" if is_own and self._hosted.has_organization else "User"
        visibility = self._hosted.visibility if is_own else "public"
        flags = (
            self._token.role_flags() if is_own else {"admin": False, "push": False, "pull": True}
        )
        return {
            "id": 1 if is_own else 2,
            "name": short,
            "full_name": git.name,
            "owner": {"login": owner, "id": 1, "type": kind},
            "private": visibility != "public",
            "visibility": visibility,
            "fork": is_own and self._hosted.is_fork,
            "archived": is_own and self._hosted.is_archived,
            "disabled": False,
            "default_branch": git.head() or "main",
            "permissions": flags,
            "html_url": f"{SERVER}/{git.name}",
            "clone_url": f"{SERVER}/{git.name}.git",
            "url": f"{API}/repos/{git.name}",
        }

    def _refusal(self) -> Response | None:
        return self._token.authorize(Need(), self._hosted.visibility)

    def _actions(self, _request: Request, _name: str) -> Response:
        body: dict[str, Any] = {"enabled": self._hosted.is_enabled}
        if self._hosted.is_enabled:
            body |= {"allowed_actions": "all"}
        return Response(HTTPStatus.OK, body)

    def _set_actions(self, request: Request, _name: str) -> Response:
        enabled = body_of(request).get("enabled")
        if not isinstance(enabled, bool):
            return refused(
                HTTPStatus.UNPROCESSABLE_ENTITY, 'Invalid request. "enabled" is a boolean.'
            )
        self._hosted.is_enabled = enabled
        return Response(HTTPStatus.NO_CONTENT)

    def _commit(self, request: Request, name: str, ref: str) -> Response:
        git = self._git(name)
        if git is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        commit = git.commit(ref)
        if commit is None:
            if git.commit("HEAD") is None:
                return refused(HTTPStatus.CONFLICT, "Git Repository is empty.")
            return refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"No commit found for SHA: {ref}")
        if "sha" in request.headers.get("accept", ""):
            return Response(HTTPStatus.OK, commit.encode())
        tree, parents, *people, message = git.describe(commit)
        names = ("name", "email", "date")
        body = {
            "sha": commit,
            "html_url": f"{SERVER}/{git.name}/commit/{commit}",
            "commit": {
                "message": message.rstrip("\n"),
                "tree": {"sha": tree},
                "author": dict(zip(names, people[:3], strict=True)),
                "committer": dict(zip(names, people[3:], strict=True)),
            },
            "parents": [{"sha": parent} for parent in parents.split()],
        }
        return Response(HTTPStatus.OK, body)

    def _contents(self, request: Request, name: str, path: str) -> Response:
        git = self._git(name)
        if git is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        ref = request.query.get("ref", "HEAD")
        commit, path = git.commit(ref), path.strip("/")
        if commit is None:
            empty = ref == "HEAD"
            words = "This repository is empty." if empty else f"No commit found for the ref {ref}"
            return refused(HTTPStatus.NOT_FOUND, words)
        entry = None if "\n" in path else git.entry(commit, path)
        if entry is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        if entry.kind == "tree":
            children = git.children(commit, path)
            prefix = f"{path}/" if path else ""
            return Response(
                HTTPStatus.OK,
                [self._entry(git, ref, child, prefix + child.name) for child in children],
            )
        content = git.read(commit, path) or b""
        if "raw" in request.headers.get("accept", ""):
            return Response(HTTPStatus.OK, content)
        lines = textwrap.wrap(base64.b64encode(content).decode(), 60)
        encoded = {"encoding": "base64", "content": "".join(f"{line}\n" for line in lines)}
        return Response(HTTPStatus.OK, {**self._entry(git, ref, entry, path), **encoded})

    def _entry(self, git: GitRepository, ref: str, entry: TreeEntry, path: str) -> dict[str, Any]:
        query = "" if ref == "HEAD" else f"?ref={ref}"
        return {
            "type": KINDS[entry.kind],
            "name": path.rpartition("/")[2],
            "path": path,
            "sha": entry.sha,
            "size": entry.size,
            "url": f"{API}/repos/{git.name}/contents/{path}{query}",
            "html_url": f"{SERVER}/{git.name}/blob/{ref}/{path}",
        }

    def _git(self, name: str) -> GitRepository | None:
        if name.lower() == self._hosted.git.name.lower():
            return self._hosted.git
        return self._others.get(name.lower())
