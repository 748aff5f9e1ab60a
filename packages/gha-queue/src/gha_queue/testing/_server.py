"""An S3 server for one machine: ministack as a process of its own, on the loopback interface."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from typing_extensions import Self

_REGION = "us-east-1"
_STARTS = 3


class S3Server:
    """A running S3 server; use it in a `with` block, or call `start` and `stop`.

    Ready in about a second. Signatures are not checked, so the credentials are invented. Data is
    held in memory unless `data_dir` is given. It is a test server: a failing disk goes unnoticed.
    """

    def __init__(self, *, data_dir: Path | None = None, log_file: Path | None = None) -> None:
        self._data_dir = data_dir
        self._log_file = log_file
        self._resources = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The process id of the server, which is also the id of its session."""
        if self._process is None:
            raise RuntimeError("the S3 server is not running: call start first")
        return self._process.pid

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which boto3 finds this server and no account of the user's."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": "invented",
            "AWS_SECRET_ACCESS_KEY": "invented",
            "AWS_REGION": _REGION,
            "AWS_DEFAULT_REGION": _REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return a whole environment: `base` (default: ours) with its AWS_ variables replaced."""
        base = os.environ if base is None else base
        kept = {name: value for name, value in base.items() if not name.startswith("AWS_")}
        return {**kept, **self.environment}

    def start(self) -> Self:
        """Start the server and wait until it answers. Raises RuntimeError after 3 tries."""
        if self._process is not None:
            raise RuntimeError("the S3 server is running already")
        with ExitStack() as resources:
            # ministack leaves a pid file in the temporary directory, which is thus our own.
            scratch = resources.enter_context(tempfile.TemporaryDirectory(prefix="gha-s3-"))
            log: int = subprocess.DEVNULL
            if self._log_file is not None:
                log = resources.enter_context(self._log_file.open("ab")).fileno()
            for _ in range(_STARTS):
                if self._try_start(scratch, log):
                    self._resources = resources.pop_all()
                    return self
        where = f": see {self._log_file}" if self._log_file else ": give log_file to see why"
        raise RuntimeError(f"the S3 server did not start{where}")

    def stop(self) -> None:
        """Stop the server and wait for its end; safe to repeat."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        self._resources.close()

    def create_bucket(self, name: str) -> None:
        """Create a bucket; one that is there stays as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("PUT", f"/{name}")
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        if answer.status not in (http.client.OK, http.client.CONFLICT):
            raise RuntimeError(f"bucket {name!r} was not created: {answer.status} {text}")

    def _try_start(self, scratch: str, log: int) -> bool:
        self._port = _free_port()
        variables = {
            "GATEWAY_PORT": str(self._port),
            "BIND_HOST": "127.0.0.1",
            # STS for whoever tries a role in place of a key.
            "SERVICES": "s3,sts",
            "LOG_LEVEL": "WARNING",
            "TMPDIR": scratch,
            "S3_PERSIST": "0",
        }
        if self._data_dir is not None:
            variables.update(S3_PERSIST="1", S3_DATA_DIR=str(self._data_dir))
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("AWS_")
        }
        process = subprocess.Popen(
            _command(),
            env={**inherited, **variables},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            up = _wait_until_up(process, self._port)
        except BaseException:
            _end(process)
            raise
        if not up:
            _end(process)
            return False
        self._process = process
        return True


# Asks the kernel to end what is started here with the thread that started it, also after a SIGKILL;
# the wish outlasts the exec.
_TIED = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def _command() -> list[str]:
    beside = Path(sys.executable).parent / "ministack"
    found = str(beside) if beside.is_file() else None
    if found is None:
        found = shutil.which("ministack", path=str(Path(sys.prefix) / "bin"))
    command = [found] if found else [sys.executable, "-m", "ministack"]
    tied = [sys.executable, "-I", "-S", "-c", _TIED] if sys.platform == "linux" else []
    return tied + command


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_up(process: subprocess.Popen[bytes], port: int, patience: float = 30.0) -> bool:
    give_up = time.monotonic() + patience
    while process.poll() is None and time.monotonic() < give_up:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
        else:
            return process.poll() is None
        finally:
            connection.close()
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
