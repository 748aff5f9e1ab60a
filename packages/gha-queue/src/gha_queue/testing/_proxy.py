"""A proxy before an S3 server that breaks requests on demand, at the edge of HTTP."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self


@dataclass(frozen=True)
class ProxiedRequest:
    """A request as it arrived: `key` is the object's key, empty for a request to the bucket."""

    method: str
    key: str
    query: str
    conditional: bool


@dataclass(frozen=True)
class DropResponse:
    """The request reaches the server, its answer is thrown away with the connection."""


@dataclass(frozen=True)
class DropRequest:
    """The connection is cut before the request reaches the server."""


@dataclass(frozen=True)
class Answer:
    """The proxy answers itself; the server never sees the request."""

    status: int
    code: str


@dataclass(frozen=True)
class Delay:
    """The request waits so many seconds before it goes on."""

    seconds: float


@dataclass(frozen=True)
class ForgetCondition:
    """The server is not told of If-None-Match, as by a store that ignores it."""


@dataclass(frozen=True)
class ShiftDate:
    """The answer's Date is moved by so many seconds, as if time had passed at the server."""

    seconds: float


Fault: TypeAlias = DropResponse | DropRequest | Answer | Delay | ForgetCondition | ShiftDate
Plan: TypeAlias = "Callable[[ProxiedRequest], Fault | None]"


def _no_fault(_: ProxiedRequest) -> Fault | None:
    return None


class FaultProxy:
    """Sits before `endpoint` and asks `plan`, which may be replaced at any time, what to break.

    The plan is called for one request at a time. `seen` lists every request in its order.
    """

    def __init__(self, endpoint: str, plan: Plan | None = None) -> None:
        parts = urlsplit(endpoint)
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.plan = plan or _no_fault
        self.seen: list[ProxiedRequest] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        """The URL of the proxy."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _decide(self, request: ProxiedRequest) -> Fault | None:
        with self._lock:
            self.seen.append(request)
            return self.plan(request)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        class Handler(_Handler):
            decide = staticmethod(self._decide)
            upstream = self._upstream

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are what this proxy is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    decide: Callable[[ProxiedRequest], Fault | None]
    upstream: tuple[str, int]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.decide(self._request())
        if isinstance(fault, DropRequest):
            self.close_connection = True
            return
        if isinstance(fault, Answer):
            self._refuse(fault)
            return
        if isinstance(fault, Delay):
            time.sleep(fault.seconds)
        connection = http.client.HTTPConnection(*self.upstream, timeout=60)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if not _is_dropped(name, fault):
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if isinstance(fault, DropResponse):
            self.close_connection = True
            return
        self._relay(response, content, fault)

    do_DELETE = do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep tests quiet."""

    def _request(self) -> ProxiedRequest:
        parts = urlsplit(self.path)
        _, _, key = unquote(parts.path).lstrip("/").partition("/")
        return ProxiedRequest(self.command, key, parts.query, "If-None-Match" in self.headers)

    def _refuse(self, answer: Answer) -> None:
        content = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f"<Error><Code>{answer.code}</Code><Message>as planned</Message></Error>"
        ).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _relay(
        self, response: http.client.HTTPResponse, content: bytes, fault: Fault | None
    ) -> None:
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            lower = name.lower()
            if lower == "date" and isinstance(fault, ShiftDate):
                moved = parsedate_to_datetime(value).timestamp() + fault.seconds
                self.send_header(name, formatdate(moved, usegmt=True))
            elif lower not in {"connection", "content-length", "transfer-encoding"}:
                self.send_header(name, value)
        length = response.getheader("Content-Length") if self.command == "HEAD" else None
        if response.status != http.client.NO_CONTENT:
            self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _is_dropped(name: str, fault: Fault | None) -> bool:
    lower = name.lower()
    if lower == "if-none-match" and isinstance(fault, ForgetCondition):
        return True
    return lower in {"expect", "connection"}
