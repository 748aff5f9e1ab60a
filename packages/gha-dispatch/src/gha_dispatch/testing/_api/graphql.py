"""The GraphQL API, as far as `gh` asks it in its commands for accounts, repositories and workflows.

A query's fields are read and answered as asked, no more: older versions of `gh` refuse a field that
they did not ask for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gha_dispatch.testing._api.http import Request, Response
from gha_dispatch.testing._api.route import HOST, Route, body_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gha_dispatch.testing._api.access import Token

PERMISSIONS = {"read": "READ", "write": "WRITE", "admin": "ADMIN"}
_LEXEME = re.compile(r'[\s,]*(\.\.\.|[{}():!=\[\]]|\$?\w+|"(?:[^"\\]|\\.)*"|$)')


class QueryError(ValueError):
    """A query that cannot be read, or that asks for what is not known here."""


@dataclass(frozen=True)
class Selection:
    """A field of a query with its arguments and the fields below it; `alias` is its name in the answer."""

    name: str
    alias: str
    arguments: Mapping[str, str]
    fields: list[Selection] = field(default_factory=list)


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
        data: dict[str, Any] = {}
        errors = []
        try:
            for asked in read_query(str(body.get("query", "")), body.get("variables") or {}):
                found, problem = self._resolve(asked)
                data[asked.alias] = None if found is None else _select(found, asked)
                if problem:
                    errors.append({"type": "NOT_FOUND", "path": [asked.alias], "message": problem})
        except QueryError as error:
            return Response(HTTPStatus.OK, {"errors": [{"message": str(error)}]})
        return Response(
            HTTPStatus.OK, {"data": data, "errors": errors} if errors else {"data": data}
        )

    def _resolve(self, asked: Selection) -> tuple[dict[str, Any] | None, str]:
        if asked.name == "viewer":
            return {"login": self._token.login, "id": "U_1", "databaseId": 1}, ""
        if asked.name != "repository":
            raise QueryError(f"Field '{asked.name}' doesn't exist on type 'Query'")
        name = f"{asked.arguments.get('owner')}/{asked.arguments.get('name')}"
        view = self._view(name)
        if view is None:
            return None, f"Could not resolve to a Repository with the name '{name}'."
        return self._repository(view), ""

    def _repository(self, view: dict[str, Any]) -> dict[str, Any]:
        flags = view["permissions"]
        role = next(
            role
            for role, flag in (("admin", "admin"), ("write", "push"), ("read", "pull"))
            if flags[flag]
        )
        return {
            "id": f"R_{view['id']}",
            "databaseId": view["id"],
            "name": view["name"],
            "nameWithOwner": view["full_name"],
            "owner": {"id": "U_1", "login": view["owner"]["login"], "name": ""},
            "description": "",
            "homepageUrl": "",
            "url": view["html_url"],
            "sshUrl": f"git@{HOST}:{view['full_name']}.git",
            "visibility": view["visibility"].upper(),
            "isPrivate": view["private"],
            "isFork": view["fork"],
            "isArchived": view["archived"],
            "isEmpty": False,
            "isTemplate": False,
            "hasIssuesEnabled": True,
            "hasWikiEnabled": False,
            "viewerPermission": PERMISSIONS[role],
            "viewerCanAdminister": flags["admin"],
            "defaultBranchRef": {"name": view["default_branch"]},
            "parent": None,
            "pullRequests": {"nodes": [], "totalCount": 0},
            "mergeCommitAllowed": True,
            "rebaseMergeAllowed": True,
            "squashMergeAllowed": True,
        }


def read_query(text: str, variables: Mapping[str, Any]) -> list[Selection]:
    """Read the fields of a document's one query. Raises QueryError."""
    return _Reader(text, variables).document()


def _select(value: Any, asked: Selection) -> Any:  # noqa: ANN401 -- JSON
    if not asked.fields or value is None:
        return value
    if isinstance(value, list):
        return [_select(one, asked) for one in value]
    unknown = [one.name for one in asked.fields if one.name not in value]
    if unknown:
        raise QueryError(f"Field '{unknown[0]}' of '{asked.name}' is not known to the stand-in")
    return {one.alias: _select(value[one.name], one) for one in asked.fields}


class _Reader:
    """Reads https://spec.graphql.org without directives and inline fragments: `gh` sends none here."""

    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        self.variables = variables
        self.fragments: dict[str, int] = {}
        self.lexemes: list[str] = []
        position = 0
        while position < len(text):
            match = _LEXEME.match(text, position)
            if match is None:
                raise QueryError(f"Unexpected {text[position]!r} in the query")
            self.lexemes.append(match[1])
            position = match.end()
        self.lexemes.append("")
        self.position = 0

    def document(self) -> list[Selection]:
        query = None
        while self.lexemes[self.position]:
            kind = self._next()
            start = self.position - 1 if kind == "{" else self._find_selections()
            if kind == "fragment":
                self.fragments[self.lexemes[self.position]] = start
            elif query is None:
                query = start
            self._skip(start)
        if query is None:
            raise QueryError("The document holds no query")
        return self._selections(query)

    def _find_selections(self) -> int:
        try:
            return self.lexemes.index("{", self.position)
        except ValueError:
            raise QueryError("The query ends too early") from None

    def _skip(self, start: int) -> None:
        depth, self.position = 0, start
        while True:
            lexeme = self._next()
            depth += (lexeme in {"{", "["}) - (lexeme in {"}", "]"})
            if depth == 0:
                return

    def _selections(self, start: int) -> list[Selection]:
        self.position = start + 1
        found: list[Selection] = []
        while (lexeme := self._next()) != "}":
            if lexeme == "...":
                after = self.position + 1
                name = self._next()
                if name not in self.fragments:
                    raise QueryError(f"Fragment {name} is not known")
                found += self._selections(self.fragments[name])
                self.position = after
                continue
            alias = lexeme
            if self._take(":"):
                lexeme = self._next()
            arguments = self._arguments() if self._take("(") else {}
            below = self._selections(self.position) if self.lexemes[self.position] == "{" else []
            found.append(Selection(lexeme, alias, arguments, below))
        return found

    def _arguments(self) -> dict[str, str]:
        """The arguments that are plain values; lists and objects are read over."""
        found = {}
        while not self._take(")"):
            name, _colon, value = self._next(), self._next(), self._next()
            if value in {"{", "["}:
                self._skip(self.position - 1)
            else:
                given = value.startswith("$")
                found[name] = str(self.variables.get(value[1:])) if given else value.strip('"')
        return found

    def _next(self) -> str:
        lexeme = self.lexemes[self.position]
        if not lexeme:
            raise QueryError("The query ends too early")
        self.position += 1
        return lexeme

    def _take(self, lexeme: str) -> bool:
        if self.lexemes[self.position] == lexeme:
            self.position += 1
            return True
        return False
