"""The API of a repository's Actions variables.

https://docs.github.com/en/rest/actions/variables
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from gha_dispatch.testing._api.access import Need, refused
from gha_dispatch.testing._api.http import Request, Response
from gha_dispatch.testing._api.route import Paging, Route, body_of
from gha_dispatch.testing._api.secrets import refuse_name, refuse_size
from gha_dispatch.testing._api.timestamp import timestamp

if TYPE_CHECKING:
    from gha_dispatch.testing._hosted import Entries, Entry, Hosted

MAX_VARIABLES = 500
READ = Need("variables", role="write")
WRITE = Need("variables", "write", "write")


class VariablesApi:
    """Answers for the variables of the hosted repository."""

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted

    def routes(self) -> list[Route]:
        """The addresses of this part."""
        actions = f"/repos/{re.escape(self._hosted.git.name)}/actions"
        root = f"{actions}/variables"
        return [
            Route("GET", f"{actions}/organization-variables", self._list_shared, READ),
            Route("GET", root, self._list, READ),
            Route("POST", root, self._create, WRITE),
            Route("GET", f"{root}/([^/]+)", self._get, READ),
            Route("PATCH", f"{root}/([^/]+)", self._update, WRITE),
            Route("DELETE", f"{root}/([^/]+)", self._delete, WRITE),
        ]

    def _list(self, request: Request) -> Response:
        return _listed(request, self._hosted.variables)

    def _list_shared(self, request: Request) -> Response:
        if not self._hosted.has_organization:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        return _listed(request, self._hosted.organization_variables)

    def _get(self, _request: Request, name: str) -> Response:
        entry = self._hosted.variables.get(name)
        if entry is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        return Response(HTTPStatus.OK, _view(name.upper(), entry))

    def _create(self, request: Request) -> Response:
        body, variables = body_of(request), self._hosted.variables
        name, value = body.get("name"), body.get("value")
        if not isinstance(name, str) or not isinstance(value, str):
            words = 'Invalid request. "name" and "value" are strings.'
            return refused(HTTPStatus.UNPROCESSABLE_ENTITY, words)
        if variables.get(name) is not None:
            return refused(HTTPStatus.CONFLICT, "Already exists - Variable already exists")
        try:
            refuse_name("Variable", name)
            refuse_size("Variable", value.encode())
            _refuse_more(len(variables.all()))
        except ValueError as error:
            return refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        variables.set(name, value)
        return Response(HTTPStatus.CREATED, {})

    def _update(self, request: Request, name: str) -> Response:
        body, variables = body_of(request), self._hosted.variables
        entry = variables.get(name)
        if entry is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        renamed, value = body.get("name", name), body.get("value", entry.value)
        try:
            refuse_name("Variable", renamed)
            refuse_size("Variable", value.encode())
        except ValueError as error:
            return refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        if renamed.upper() != name.upper():
            variables.delete(name)
        variables.set(renamed, value)
        return Response(HTTPStatus.NO_CONTENT)

    def _delete(self, _request: Request, name: str) -> Response:
        if not self._hosted.variables.delete(name):
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        return Response(HTTPStatus.NO_CONTENT)


def _refuse_more(count: int) -> None:
    if count >= MAX_VARIABLES:
        raise ValueError(f"Variable limit of {MAX_VARIABLES} per repository is reached")


def _listed(request: Request, entries: Entries[str]) -> Response:
    paging = Paging(default=10, most=30)
    return paging.answer(request, "variables", entries.all(), lambda item: _view(*item))


def _view(name: str, entry: Entry[str]) -> dict[str, str]:
    return {
        "name": name,
        "value": entry.value,
        "created_at": timestamp(entry.created),
        "updated_at": timestamp(entry.updated),
    }
