"""One run of a command for one job."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

from gha_queue._records import PAYLOAD_LIMIT, json_size
from gha_queue.cli._formats import one_line
from gha_queue.cli._guard import PATIENCE, POLL, signal_group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

    from gha_queue._records import Fields, Json

# A byte of text takes at most six as JSON, so that this much always fits into an outcome.
TEXT_LIMIT = 40 * 1024
TAIL_LIMIT = 4 * 1024
_CHUNK = 64 * 1024
_LAST_CHUNKS = 16


class Child:
    """A command in a session of its own, so that the terminal's signals do not reach it.

    `payload` goes to its stdin as a line of JSON; what it writes to stderr is passed on to ours. Use it in
    a `with` block, which leaves nothing of its process group behind.
    """

    def __init__(
        self, command: Sequence[str], payload: Json, environment: Mapping[str, str]
    ) -> None:
        self._stdout = bytearray()
        self._stderr = bytearray()
        with tempfile.TemporaryFile() as stdin:  # a pipe would block where nobody reads it
            stdin.write(json.dumps(payload).encode() + b"\n")
            stdin.seek(0)
            self._process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        assert self._process.stderr is not None  # noqa: S101
        self._sinks = {
            self._process.stdout.fileno(): self._keep_head,
            self._process.stderr.fileno(): self._keep_tail,
        }
        for stream in self._sinks:
            os.set_blocking(stream, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        signal_group(self.group, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    @property
    def group(self) -> int:
        """The id of its process group."""
        return self._process.pid

    @property
    def streams(self) -> list[int]:
        """The descriptors to wait for; `pump` reads them."""
        return list(self._sinks)

    def pump(self) -> bool:
        """Take in some of what was written; whether there was any."""
        found = False
        for stream, keep in list(self._sinks.items()):
            try:
                chunk = os.read(stream, _CHUNK)
            except BlockingIOError:
                continue
            if chunk:
                found = True
                keep(chunk)
            else:
                del self._sinks[stream]
        return found

    def poll(self) -> int | None:
        """Return the exit code as a shell knows it once the command has ended, else None.

        What it left running in its group is killed then.
        """
        code = self._process.poll()
        if code is None:
            return None
        signal_group(self.group, signal.SIGKILL)
        for _ in range(_LAST_CHUNKS):  # one that left the group may write on for ever
            if not self.pump():
                break
        return code if code >= 0 else 128 - code

    def end(self) -> None:
        """Ask the whole group to end, and kill what is left after some seconds."""
        signal_group(self.group, signal.SIGTERM)
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            gone = self._process.poll() is not None
            if gone and not signal_group(self.group, 0):
                break
            self.pump()
            time.sleep(POLL)
        signal_group(self.group, signal.SIGKILL)
        self._process.wait()
        self.poll()

    def result(self) -> Json:
        """Return stdout as JSON, or else as text cut to 40 KiB; None if it is empty."""
        if len(self._stdout) <= PAYLOAD_LIMIT:
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(self._stdout)
                if json_size(value) <= PAYLOAD_LIMIT:
                    return value
        return _text(self._stdout[:TEXT_LIMIT]) or None

    def error(self, reason: str, message: str, exit_code: int | None) -> Fields:
        """Return the record of a failure: its cause and the end of stderr."""
        stderr = _text(self._stderr)
        last = one_line(stderr.rstrip().rpartition("\n")[2])
        return {
            "reason": reason,
            "message": f"{message}: {last}" if last else message,
            "exit_code": exit_code,
            "stderr": stderr,
        }

    def _keep_head(self, chunk: bytes) -> None:
        self._stdout += chunk[: PAYLOAD_LIMIT + 1 - len(self._stdout)]

    def _keep_tail(self, chunk: bytes) -> None:
        self._stderr += chunk
        del self._stderr[:-TAIL_LIMIT]
        with contextlib.suppress(OSError):
            os.write(2, chunk)


def _text(output: bytes | bytearray) -> str:
    return output.decode(errors="replace")
