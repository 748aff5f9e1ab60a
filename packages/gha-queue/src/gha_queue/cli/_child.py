"""One run of a command for one job."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING

import click

from gha_queue._records import PAYLOAD_LIMIT, json_size
from gha_queue.cli._exits import NO_ROOM
from gha_queue.cli._guard import PATIENCE, POLL, signal_group
from gha_queue.cli._output import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO

    from typing_extensions import Self

    from gha_queue._records import Fields, Json

# A byte of text takes at most six as JSON, so that this much always fits into an outcome.
TEXT_LIMIT = 40 * 1024
TAIL_LIMIT = 4 * 1024
_CHUNK = 64 * 1024
_LAST_WORDS = 1.0


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
        self._ended = False
        with tempfile.TemporaryFile() as stdin:  # a pipe would block where nobody reads it
            stdin.write(json.dumps(payload).encode() + b"\n")
            stdin.seek(0)
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                if error.errno in NO_ROOM:
                    raise
                raise click.UsageError(
                    f"{command[0]} cannot be started ({error.strerror}): is it a program, or a "
                    f"script with a #! line?"
                ) from error
        # Threads, because whoever reads our stderr may stop reading: that must hold up no one else.
        self._readers = [
            threading.Thread(target=_read, args=(stream, keep), name="output", daemon=True)
            for stream, keep in (
                (self._process.stdout, self._keep_head),
                (self._process.stderr, self._keep_tail),
            )
        ]

    def __enter__(self) -> Self:
        try:
            for reader in self._readers:
                reader.start()
        except BaseException:
            signal_group(self.group, signal.SIGKILL)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()

    @property
    def group(self) -> int:
        """The id of its process group."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code as a shell knows it once the command has ended, else None.

        What it left running in its group is killed then.
        """
        code = self._process.poll()
        if code is None:
            return None
        self._finish()
        return code if code >= 0 else 128 - code

    def end(self) -> None:
        """Ask the whole group to end, and kill what is left after some seconds."""
        signal_group(self.group, signal.SIGTERM)
        give_up = time.monotonic() + PATIENCE
        # A leader that nobody has waited for would count as a member.
        while time.monotonic() < give_up and (
            self._process.poll() is None or signal_group(self.group, 0)
        ):
            time.sleep(POLL)
        self._finish()

    def _finish(self) -> None:
        if self._ended:  # the id of the group may be another's by now
            return
        self._ended = True
        signal_group(self.group, signal.SIGKILL)
        self._process.wait()
        give_up = time.monotonic() + _LAST_WORDS
        for reader in self._readers:  # one that left the group may write on for ever
            reader.join(max(0.0, give_up - time.monotonic()))

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
        if sys.stderr is not None:  # it is None where the shell closed it: 2>&-
            # Not by its buffer, whose lock would hold up the worker's own words.
            with contextlib.suppress(OSError):
                os.write(sys.stderr.fileno(), chunk)


def _read(stream: IO[bytes], keep: Callable[[bytes], None]) -> None:
    with stream:
        while chunk := os.read(stream.fileno(), _CHUNK):
            keep(chunk)


def _text(output: bytes | bytearray) -> str:
    return output.decode(errors="replace")
