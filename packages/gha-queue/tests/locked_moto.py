"""moto as an S3 server that answers one request at a time, for test_conformance.

moto tests the condition of a write and writes without a lock, so by itself it is not safe.
Prints its port, and ends with its standard input.
"""

from __future__ import annotations

import io
import sys
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from moto.server import DomainDispatcherApplication, create_backend_app

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Locked:
    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        # A slow sender must not keep the others waiting.
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        with self._lock:
            return list(self._application(environ, start))


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # so that "Expect: 100-continue" is answered

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
        pass


def main() -> None:
    server = Server(("127.0.0.1", 0), Quiet)
    server.set_app(Locked(DomainDispatcherApplication(create_backend_app)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)  # noqa: T201 - how the port is told
    sys.stdin.read()


if __name__ == "__main__":
    main()
