"""The launcher's side of the relays: one thread per task that runs, none of Metaflow's processes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socketserver
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaflow_extensions.gha.launcher.relay import Relay
from metaflow_extensions.gha.launcher.task_spec import TaskSpec

if TYPE_CHECKING:
    from gha_queue import Queue

# Bytes of a folder below which a socket still has a legal name.
LONGEST = 70

CLIENT = Path(__file__).with_name("relay_client.py")


class RelayServer:
    """Answers the relays of one run on a socket that only this user can open."""

    def __init__(self, obj: Any, queue: Queue) -> None:
        parent = tempfile.gettempdir()
        if len(os.fsencode(parent)) > LONGEST:
            parent = "/tmp"  # noqa: S108  # mkdtemp makes a private folder there
        self._directory = tempfile.mkdtemp(prefix="gha-relay-", dir=parent)
        path = str(Path(self._directory) / "s")

        class Connection(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                _answer(self, obj, queue)

        self._server = _Server(path, Connection)
        # The interpreter without site-packages starts in ten milliseconds.
        self.entrypoint = [sys.executable, "-I", "-S", str(CLIENT), path]
        threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="gha-relays", daemon=True
        ).start()

    def stop(self) -> None:
        """Answer no more. The threads that still run end with their relays."""
        self._server.shutdown()
        self._server.server_close()
        shutil.rmtree(self._directory, ignore_errors=True)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    # As many tasks as the scheduler may start in one breath.
    request_queue_size = 512


class _Frames:
    """One output stream of a task, as frames on its socket."""

    def __init__(self, connection: socketserver.StreamRequestHandler, stream: int) -> None:
        self._connection = connection
        self._stream = stream

    def write(self, text: str) -> None:
        data = text.encode()
        self._connection.wfile.write(f"{self._stream} {len(data)}\n".encode() + data)

    def flush(self) -> None:
        self._connection.wfile.flush()


def _answer(connection: socketserver.StreamRequestHandler, obj: Any, queue: Queue) -> None:
    """Run one task for the relay behind `connection`."""
    end = select.poll()
    end.register(connection.connection, select.POLLIN)

    def gone() -> bool:
        # A relay sends nothing after its first line, so that what can be read is its end.
        return bool(end.poll(0))

    outputs = {"stdout": _Frames(connection, 1), "stderr": _Frames(connection, 2)}
    # The relay may be gone at any word: nobody is left to be told.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        try:
            spec = TaskSpec.parse(obj, json.loads(connection.rfile.readline()))
            code = Relay(obj, queue, spec, outputs, gone).run()
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # noqa: BLE001  # a thread's error has no other way to the user
            outputs["stderr"].write(f"The relay of this task failed: {error!r}\n")
            code = 1
        connection.wfile.write(f"0 {code}\n".encode())
