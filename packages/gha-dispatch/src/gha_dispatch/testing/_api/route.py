"""One address of the API, and what many answers share: pages and bodies."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from gha_dispatch.testing._api.http import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gha_dispatch.testing._api.access import Need
    from gha_dispatch.testing._api.http import Request

T = TypeVar("T")
HOST = "github.localhost"
SERVER = f"http://{HOST}"
API = f"http://api.{HOST}"


@dataclass(frozen=True)
class Route:
    """`answer` gets the request and the pattern's groups, decoded. `need` None: any login will do."""

    method: str
    pattern: str
    answer: Callable[..., Response]
    need: Need | None = None


@dataclass(frozen=True)
class Paging:
    """How many items a page holds unless asked, and at most."""

    default: int = 30
    most: int = 100

    def answer(
        self, request: Request, key: str, items: Sequence[T], view: Callable[[T], object]
    ) -> Response:
        """The page of a list that `per_page` and `page` ask for, with a link to the next one."""
        size = min(_whole(request, "per_page", self.default), self.most)
        number = _whole(request, "page", 1)
        shown = [view(item) for item in items[(number - 1) * size : number * size]]
        headers = {}
        if len(items) > number * size:
            query = urlencode({**request.query, "page": number + 1})
            headers["Link"] = f'<{API}{request.path}?{query}>; rel="next"'
        return Response(HTTPStatus.OK, {"total_count": len(items), key: shown}, headers)


def body_of(request: Request) -> dict[str, Any]:
    """The JSON object of a request; empty for everything else."""
    return request.body if isinstance(request.body, dict) else {}


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    return max(int(text), 1) if text.isdigit() else default
