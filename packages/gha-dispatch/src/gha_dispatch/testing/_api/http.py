"""HTTP on a unix socket, as `gh` speaks it with `http_unix_socket`."""

from __future__ import annotations

import json
import os
import socketserver
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Request:
    """A request as the API sees it.

    `path` has no query and keeps its percent signs; `headers` have lower-case names.
    """

    method: str
    path: str
    query: Mapping[str, str]
    token: str | None = field(repr=False)
    body: Any = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class Response:
    """An answer; `body` becomes JSON, bytes are sent as they are, None becomes nothing."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class ConnectionLostError(Exception):
    """Raised by a handler to break the connection instead of answering."""


class _HttpServer:
    """Serves until `stop`, on a thread of its own."""

    def __init__(self, server: socketserver.BaseServer) -> None:
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests. Those under way are not waited for."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class UnixHttpServer(_HttpServer):
    """Serves `handle` on a socket in the file system."""

    def __init__(self, path: Path, handle: Callable[[Request], Response]) -> None:
        server = _UnixServer(os.fspath(path), _handler(handle))
        path.chmod(0o600)
        super().__init__(server)


class LocalHttpServer(_HttpServer):
    """Serves `handle` on a free port of this machine's own address."""

    def __init__(self, handle: Callable[[Request], Response]) -> None:
        server = _LocalServer(("127.0.0.1", 0), _handler(handle))
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        super().__init__(server)


class _Threads(socketserver.ThreadingMixIn):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


class _UnixServer(_Threads, socketserver.UnixStreamServer): ...


class _LocalServer(_Threads, socketserver.TCPServer): ...


def _handler(handle: Callable[[Request], Response]) -> type[_Handler]:
    class Handler(_Handler):
        api = staticmethod(handle)

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: Callable[[Request], Response]

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 -- http.server's names

    def _answer(self) -> None:
        self.close_connection = True
        try:
            body = self._read_body()
        except (ConnectionError, ValueError):
            return  # the client gave up, or speaks no HTTP
        parts = urlsplit(self.path)
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        request = Request(
            method=self.command.replace("HEAD", "GET"),
            path=parts.path,
            query=dict(parse_qsl(parts.query)),
            token=token if scheme.lower() in {"token", "bearer"} else None,
            body=body,
            headers={name.lower(): value for name, value in self.headers.items()},
        )
        try:
            response = self.api(request)
        except ConnectionLostError:
            return
        data, kind = _encode(response.body)
        try:
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", kind)
            if response.status != HTTPStatus.NO_CONTENT:
                self.send_header("Content-Length", str(len(data)))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            return  # the client gave up

    def _read_body(self) -> Any:  # noqa: ANN401 -- JSON
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            return json.loads(data) if data.strip() else None
        except ValueError:
            return None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's
        """Say nothing: a request's address is no news."""


def _encode(body: object) -> tuple[bytes, str]:
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    data = b"" if body is None else json.dumps(body).encode()
    return data, "application/json; charset=utf-8"
