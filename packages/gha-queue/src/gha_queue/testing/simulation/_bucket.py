"""A simulated S3 bucket: what S3 promises, and nothing else.

Every request takes effect at one instant, listings are complete and in order, and of many
creations of one key one succeeds. The server's clock is the world's, at S3's grain.
"""

from __future__ import annotations

import enum
import io
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue._records import Fields
    from gha_queue.testing.simulation._world import World

OK, NO_CONTENT, NOT_FOUND, PRECONDITION_FAILED = 200, 204, 404, 412
START = 1_800_000_000.0  # of the server's clock, in seconds since 1970
_CODES = {NOT_FOUND: "NoSuchKey", PRECONDITION_FAILED: "PreconditionFailed"}
_START = datetime.fromtimestamp(START, timezone.utc)


class Operation(enum.Enum):
    """The S3 operations that a queue sends."""

    PUT = "PutObject"
    GET = "GetObject"
    LIST = "ListObjectsV2"
    DELETE = "DeleteObject"


class Request(NamedTuple):
    """One request; `key` is the prefix where it is a listing."""

    operation: Operation
    key: str
    body: bytes = b""
    if_absent: bool = False
    after: str = ""
    limit: int = 1000

    def __str__(self) -> str:
        after = f" after {self.after}" if self.after else ""
        condition = " if absent" if self.if_absent else ""
        return f"{self.operation.name} {self.key}{after}{condition}"


@dataclass
class Answer:
    """An HTTP status, and the answer as boto3 gives it or as its error carries it."""

    status: int
    fields: Fields


class Stored(NamedTuple):
    """An object's body and when it was written."""

    body: bytes
    modified: datetime


class Bucket:
    """Keys in their order and their objects.

    `grain` is that of LastModified in seconds: 1 or 0.001. `watch` is called with what each request
    found or made, after it took effect.
    """

    def __init__(
        self,
        world: World,
        *,
        grain: float = 1.0,
        objects: dict[str, bytes] | None = None,
    ) -> None:
        self._world = world
        self._grain = grain
        self._date = (-1, "")
        now = self._modified()
        self.objects = {key: Stored(body, now) for key, body in (objects or {}).items()}
        self.keys = sorted(self.objects)

    def below(self, prefix: str) -> list[str]:
        """Return the keys that start with `prefix`, in their order."""
        keys = self.keys
        return keys[bisect_left(keys, prefix) : bisect_left(keys, prefix + "\x7f")]

    def apply(self, request: Request) -> Answer:
        """Let a request take effect now."""
        return _APPLY[request.operation](self, request)

    def refusal(self, status: int, code: str) -> Answer:
        """Return an answer without effect."""
        return Answer(status, {"Error": {"Code": code}, **self._meta(status)})

    def _put(self, request: Request) -> Answer:
        key = request.key
        if key not in self.objects:
            insort(self.keys, key)
        elif request.if_absent:
            return self._refuse(PRECONDITION_FAILED)
        self.objects[key] = Stored(request.body, self._modified())
        return Answer(OK, self._meta(OK))

    def _get(self, request: Request) -> Answer:
        stored = self.objects.get(request.key)
        if stored is None:
            return self._refuse(NOT_FOUND)
        fields = self._meta(OK)
        fields["Body"] = io.BytesIO(stored.body)
        fields["LastModified"] = stored.modified
        return Answer(OK, fields)

    def _list(self, request: Request) -> Answer:
        keys, prefix = self.keys, request.key
        first = bisect_left(keys, prefix)
        if request.after:
            first = max(first, bisect_right(keys, request.after))
        last = min(first + request.limit, bisect_left(keys, prefix + "\x7f"))
        fields = self._meta(OK)
        fields["Contents"] = [
            {"Key": key, "LastModified": self.objects[key].modified} for key in keys[first:last]
        ]
        fields["IsTruncated"] = last < len(keys) and keys[last].startswith(prefix)
        return Answer(OK, fields)

    def _delete(self, request: Request) -> Answer:
        if self.objects.pop(request.key, None) is not None:
            del self.keys[bisect_left(self.keys, request.key)]
        return Answer(NO_CONTENT, self._meta(NO_CONTENT))

    def _refuse(self, status: int) -> Answer:
        return self.refusal(status, _CODES[status])

    def _meta(self, status: int) -> Fields:
        second = int(self._world.now)
        if self._date[0] != second:
            self._date = (second, formatdate(START + second, usegmt=True))
        headers = {"date": self._date[1]}
        return {"ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers}}

    def _modified(self) -> datetime:
        return _START + timedelta(seconds=self._world.now // self._grain * self._grain)


_APPLY: dict[Operation, Callable[[Bucket, Request], Answer]] = {
    Operation.PUT: Bucket._put,  # noqa: SLF001
    Operation.GET: Bucket._get,  # noqa: SLF001
    Operation.LIST: Bucket._list,  # noqa: SLF001
    Operation.DELETE: Bucket._delete,  # noqa: SLF001
}
