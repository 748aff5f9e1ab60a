"""Where a queue lives: URLs and the stores behind them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from gha_queue._errors import InvalidQueueError
from gha_queue._files import FileStore
from gha_queue._memory import memory_store
from gha_queue._s3 import S3Client, S3Session, S3Store

if TYPE_CHECKING:
    from gha_queue._store import Store

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[!-~]*")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")


class Place(Protocol):
    """A place that can hold a queue. Making one sends nothing and touches nothing."""

    def open(self, connect: float = 5.0, read: float = 15.0) -> Store:
        """Return the store; `connect` and `read` limit a request's time, in seconds."""


def parse_place(url: str, client: S3Client | None = None) -> Place:
    """Read a queue's URL; raises InvalidQueueError. Only `s3://` takes a client."""
    scheme, mark, rest = url.partition("://") if isinstance(url, str) else ("", "", "")
    place = _PARSERS[scheme](rest, client) if mark and scheme in _PARSERS else None
    if place is None:
        raise InvalidQueueError(
            f"{url!r} is no place of a queue: use s3://bucket/prefix, file:///absolute/directory "
            f"or memory://name"
        )
    if client is not None and not isinstance(place, _Bucket):
        raise InvalidQueueError(
            f"{url} needs no S3 client: leave it out, or use s3://bucket/prefix"
        )
    return place


@dataclass(frozen=True)
class _Bucket:
    bucket: str
    prefix: str
    client: S3Client | None

    @cached_property
    def _session(self) -> S3Session:
        return S3Session()

    def open(self, connect: float = 5.0, read: float = 15.0) -> Store:
        client = self.client or self._session.client(connect=connect, read=read)
        return S3Store(client, self.bucket, self.prefix)


@dataclass(frozen=True)
class _Directory:
    path: Path

    def open(self, connect: float = 5.0, read: float = 15.0) -> Store:  # noqa: ARG002 - of Place
        return FileStore(self.path)


@dataclass(frozen=True)
class _Memory:
    name: str

    def open(self, connect: float = 5.0, read: float = 15.0) -> Store:  # noqa: ARG002 - of Place
        return memory_store(self.name)


def _bucket(rest: str, client: S3Client | None) -> Place | None:
    bucket, _, prefix = rest.partition("/")
    if _BUCKET.fullmatch(bucket) is None or _PREFIX.fullmatch(prefix) is None:
        return None
    prefix = prefix.strip("/")
    return _Bucket(bucket, f"{prefix}/" if prefix else "", client)


def _directory(rest: str, _: S3Client | None) -> Place | None:
    path = Path(unquote(rest))
    usable = path.is_absolute() and path.name and "\0" not in str(path)
    return _Directory(path) if usable else None


def _memory(rest: str, _: S3Client | None) -> Place | None:
    return _Memory(rest) if _NAME.fullmatch(rest) else None


_PARSERS = {"s3": _bucket, "file": _directory, "memory": _memory}
