from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.insert(0, str(Path(__file__).parent))

from process_watch import eventually
from s3_access import s3_client

from gha_queue import Queue
from gha_queue.testing import S3Server

PATIENCE = 30.0
LEASE, HEARTBEAT = 6.0, 1.0


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        server.create_bucket("jobs")
        yield server


@pytest.fixture(scope="session")
def proven(s3: S3Server) -> bytes:
    """The record of a queue whose store was probed: probing once is enough for this server."""
    client = s3_client(s3)
    Queue("s3://jobs/proven", client, lease=LEASE, heartbeat=HEARTBEAT).create()
    body: bytes = client.get_object(Bucket="jobs", Key="proven/queue")["Body"].read()
    return body


@pytest.fixture
def queue(s3: S3Server, proven: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """A fresh queue with leases short enough to watch them end."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    s3_client(s3).put_object(Bucket="jobs", Key=f"{tmp_path.name}/queue", Body=proven)
    queue = Queue(f"s3://jobs/{tmp_path.name}", lease=LEASE, heartbeat=HEARTBEAT)
    queue.create()
    return queue


@dataclass
class WorkerProcess:
    """A worker as GitHub starts it: the command line in a process of its own."""

    process: subprocess.Popen[bytes]
    log_file: Path
    work_dir: Path

    def log(self) -> str:
        return self.log_file.read_text()

    def wait(self, seconds: float = PATIENCE) -> int:
        return self.process.wait(seconds)

    def ready(self) -> WorkerProcess:
        eventually(lambda: "is ready" in self.log())
        return self


class Workers:
    """Starts worker processes, and ends those that a test has left running."""

    def __init__(self, url: str, environment: dict[str, str], directory: Path) -> None:
        self.url = url
        self.environment = environment
        self.directory = directory
        self._started: list[subprocess.Popen[bytes]] = []

    def start(
        self, *options: str, url: str | None = None, code: str = "", **variables: str
    ) -> WorkerProcess:
        """Start ``gha-worker run``; `code` runs in its place, to change a constant first."""
        number = len(self._started)
        log = self.directory / f"worker-{number}.log"
        work = self.directory / f"vm-{number}"
        main = ["-c", code] if code else ["-m", "gha_worker"]
        command = [sys.executable, *main, "run", url or self.url]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, "--work-dir", str(work), *options],
                env={**self.environment, **variables},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return WorkerProcess(process, log, work)

    def end(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE)


@pytest.fixture
def workers(queue: Queue, s3: S3Server, tmp_path: Path) -> Iterator[Workers]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "PYTHONWARNINGS": "error",
        **s3.environment,
    }
    workers = Workers(queue.url, environment, tmp_path)
    yield workers
    workers.end()
