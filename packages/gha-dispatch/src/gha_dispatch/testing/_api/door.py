"""The door of the API: version, token, rate limit, and the way to the part that answers."""

from __future__ import annotations

import re
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

from gha_dispatch.testing._api.access import refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gha_dispatch.testing._api.access import Token
    from gha_dispatch.testing._api.http import Request, Response
    from gha_dispatch.testing._api.rate_limit import RateLimit
    from gha_dispatch.testing._api.route import Route
    from gha_dispatch.testing._hosted import Hosted

# https://docs.github.com/en/rest/about-the-rest-api/api-versions
OLDEST, NEWEST = VERSIONS = ("2022-11-28", "2026-03-10")


class Api:
    """Answers requests by the first of its routes that fits."""

    def __init__(
        self, routes: Iterable[Route], *, hosted: Hosted, token: Token, limit: RateLimit
    ) -> None:
        self._routes = [(re.compile(route.pattern, re.IGNORECASE), route) for route in routes]
        self._hosted = hosted
        self._token = token
        self._limit = limit

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        version = request.headers.get("x-github-api-version", OLDEST)
        if version not in VERSIONS:
            known = ", ".join(f'"{one}"' for one in reversed(VERSIONS))
            return refused(
                HTTPStatus.BAD_REQUEST,
                f'The version you specified in the "X-GitHub-API-Version" request header, '
                f'"{version}", is not a supported version. The following versions are '
                f"currently supported: {known}.",
            )
        refusal = self._token.authenticate(request)
        if refusal is not None:
            return refusal
        route, arguments = self._find(request)
        is_free = request.path == "/rate_limit"
        if not is_free and not self._limit.spend():
            response = refused(HTTPStatus.FORBIDDEN, "API rate limit exceeded for user ID 1.")
        elif route is None:
            response = refused(HTTPStatus.NOT_FOUND, "Not Found")
        else:
            response = self._authorized(route, request, arguments)
        headers = {
            "X-GitHub-Api-Version-Selected": version,
            **self._token.headers(None if route is None else route.need),
            **self._limit.headers(),
            **response.headers,
        }
        return replace(response, headers=headers)

    def _find(self, request: Request) -> tuple[Route | None, list[str]]:
        for pattern, route in self._routes:
            match = pattern.fullmatch(request.path)
            if match is not None and route.method == request.method:
                return route, [unquote(part) for part in match.groups()]
        return None, []

    def _authorized(self, route: Route, request: Request, arguments: list[str]) -> Response:
        if route.need is not None:
            refusal = self._token.authorize(route.need, self._hosted.visibility)
            if refusal is not None:
                return refusal
            if self._hosted.is_archived and request.method != "GET":
                return refused(HTTPStatus.FORBIDDEN, "Repository was archived so is read-only.")
        return route.answer(request, *arguments)
