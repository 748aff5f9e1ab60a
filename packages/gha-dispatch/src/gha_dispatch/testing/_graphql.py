"""The few GraphQL queries that `gh` sends in its commands for accounts, repositories and workflows.

Only the fields at the top are read: whoever, and which repository. Each is answered in full, and
`gh` takes what it asked for.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gha_dispatch.testing._http import Request, Response
from gha_dispatch.testing._route import Route, body_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_dispatch.testing._access import Token

_REPOSITORY = re.compile(
    r'(?:(?P<alias>\w+):\s*)?\brepository\(\s*owner:\s*(?P<owner>"[^"]*"|\$\w+),?'
    r'\s*name:\s*(?P<name>"[^"]*"|\$\w+)'
)
PERMISSIONS = {"read": "READ", "write": "WRITE", "admin": "ADMIN"}


class GraphQl:
    """Answers `viewer` and `repository`. `view` gives the REST form of a repository, or None."""

    def __init__(self, token: Token, view: Callable[[str], dict[str, Any] | None]) -> None:
        self._token = token
        self._view = view

    def routes(self) -> list[Route]:
        """The one address."""
        return [Route("POST", "/graphql", self._answer)]

    def _answer(self, request: Request) -> Response:
        body = body_of(request)
        query, variables = str(body.get("query", "")), body.get("variables") or {}
        data: dict[str, Any] = {}
        errors = []
        if re.search(r"\bviewer\b", query):
            data["viewer"] = {"login": self._token.login, "id": "U_1"}
        for match in _REPOSITORY.finditer(query):
            field = match["alias"] or "repository"
            owner, name = (_value(match[part], variables) for part in ("owner", "name"))
            view = self._view(f"{owner}/{name}")
            data[field] = None if view is None else self._repository(view)
            if view is None:
                words = f"Could not resolve to a Repository with the name '{owner}/{name}'."
                errors.append({"type": "NOT_FOUND", "path": [field], "message": words})
        if not data:
            errors.append(
                {"message": "The stand-in answers queries of viewer and repository only."}
            )
        answer = {"data": data, "errors": errors} if errors else {"data": data}
        return Response(HTTPStatus.OK, answer)

    def _repository(self, view: dict[str, Any]) -> dict[str, Any]:
        role = (
            self._token.role
            if view["permissions"]["push"] or view["permissions"]["admin"]
            else "read"
        )
        return {
            "id": f"R_{view['id']}",
            "databaseId": view["id"],
            "name": view["name"],
            "nameWithOwner": view["full_name"],
            "owner": {"id": "U_1", "login": view["owner"]["login"]},
            "description": "",
            "url": view["html_url"],
            "sshUrl": f"git@github.localhost:{view['full_name']}.git",
            "visibility": view["visibility"].upper(),
            "isPrivate": view["private"],
            "isFork": view["fork"],
            "isArchived": view["archived"],
            "isEmpty": False,
            "hasIssuesEnabled": True,
            "hasWikiEnabled": False,
            "viewerPermission": PERMISSIONS[role],
            "defaultBranchRef": {"name": view["default_branch"]},
            "parent": None,
            "mergeCommitAllowed": True,
            "rebaseMergeAllowed": True,
            "squashMergeAllowed": True,
        }


def _value(text: str, variables: dict[str, Any]) -> str:
    return str(variables.get(text[1:])) if text.startswith("$") else text.strip('"')
