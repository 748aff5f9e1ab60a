"""Runs one step's command on the VM and keeps its logs where Metaflow's readers look.

One small process in place of Metaflow's two `tee`s and three `save_logs`, each of which imports
Metaflow: it reads the step's output, stamps each line as mflog does, and uploads what is new while
the step runs. The objects it writes are the ones that `flow.py logs`, `task.stdout` and the UI read.

    python -m metaflow_extensions.gha.vm.run_step COMMAND        COMMAND is given to bash

The exit code is the command's, 128 + n after signal n. An upload that fails never fails the step.
Standard library only, boto3 once there is something to upload.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

# Each upload is a PUT of the whole log: at first one a second at most, later as rarely as Metaflow's own.
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
# Seconds between two looks at the files, which cost nothing.
LOOK = 0.2
# Seconds for the end of the streams after the end of the step, and tries of the last upload.
LAST_WORDS, LAST_TRIES = 2.0, 3


def stamp(line: bytes) -> bytes:
    """`line` as mflog keeps it: version, time in UTC, source and a unique id before the text."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"[MFLOG|0|{now}Z|task|{uuid.uuid4()}]".encode() + line.rstrip(b"\n") + b"\n"


def pause(seconds: float) -> float:
    """Seconds until the next upload of a step that has run for `seconds`."""
    return SHORTEST_PAUSE + LONGEST_PAUSE / (1.0 + math.exp(9.0 - 0.01 * seconds))


@dataclass
class Log:
    """One stream of the step: a file of stamped lines, its place in S3, and how much is there."""

    url: str
    path: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    uploaded: int = 0

    def follow(self, pipe: IO[bytes]) -> None:
        """Stamp and keep every line until the step closes the stream."""
        with self.path.open("ab", buffering=0) as file:
            for line in pipe:
                with self.lock:
                    file.write(stamp(line))

    def upload(self, client: Any, options: dict[str, Any]) -> None:
        """Put the whole log."""
        bucket, _, key = self.url.removeprefix("s3://").partition("/")
        with self.lock:
            size = self.path.stat().st_size
        # The file only grows, so its first `size` bytes are whole lines, whatever is written meanwhile.
        with self.path.open("rb") as file:
            client.put_object(Bucket=bucket, Key=key, Body=file.read(size), **options)
        self.uploaded = size

    def has_grown(self) -> bool:
        return self.path.stat().st_size > self.uploaded


class Uploader:
    """Puts the logs of one try into S3, with the settings that Metaflow has for its datastore."""

    def __init__(self, logs: list[Log]) -> None:
        self.logs = logs
        self._client: Any = None
        encryption = os.environ.get("METAFLOW_S3_SERVER_SIDE_ENCRYPTION")
        self._options = {"ServerSideEncryption": encryption} if encryption else {}

    def upload(self) -> bool:
        """Send every log that has grown; whether there was one. A failure is told and left for the next time."""
        grown = [log for log in self.logs if log.has_grown()]
        try:
            for log in grown:
                log.upload(self._s3(), self._options)
        except Exception as error:  # noqa: BLE001  # whatever S3 says, the step goes on
            sys.stderr.write(f"The logs could not be uploaded just now: {error}\n")
        return bool(grown)

    def _s3(self) -> Any:
        if self._client is None:
            import boto3

            verify = os.environ.get("METAFLOW_S3_VERIFY_CERTIFICATE", "")
            choices = {"0": False, "false": False, "no": False}
            self._client = boto3.client(
                "s3",
                endpoint_url=os.environ.get("METAFLOW_S3_ENDPOINT_URL") or None,
                verify=choices.get(verify.lower(), verify or None),
            )
        return self._client


def place_metadata_files(files: dict[str, str]) -> None:
    """Write the launcher's `_self.json` files, without which the client and cards find no run on the VM.

    They get the oldest time there is: on the way back a newer file of the launcher, with tags that
    the user changed meanwhile, must stand.
    """
    for name, content in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        os.utime(path, (0, 0))


def run(command: str) -> int:
    """Run `command` under bash in this directory, shipping its logs; returns its exit code."""
    Path(".metaflow").mkdir(exist_ok=True)
    place_metadata_files(json.loads(os.environ.pop("METAFLOW_GHA_METADATA_FILES", "{}")))
    directory = Path(os.environ.get("TMPDIR", ".")) / "gha-logs"
    directory.mkdir(exist_ok=True)
    logs = []
    for name, url in json.loads(os.environ.pop("METAFLOW_GHA_LOGS")).items():
        log = Log(url, directory / name)
        log.path.touch()
        os.environ[f"MFLOG_{name.upper()}"] = str(log.path)
        logs.append(log)
    step = subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # In an orderly stop every process of the job is asked to end; this one stays to send the last lines.
    signal.signal(signal.SIGTERM, lambda *_: step.terminate())
    followers = [
        threading.Thread(target=log.follow, args=(pipe,), daemon=True)
        for log, pipe in zip(logs, (step.stdout, step.stderr), strict=True)
    ]
    for follower in followers:
        follower.start()
    uploader = Uploader(logs)
    code = _wait(step, uploader)
    # A child that the step left behind may hold the streams open: the log ends with the step.
    deadline = time.monotonic() + LAST_WORDS
    for follower in followers:
        follower.join(max(0.0, deadline - time.monotonic()))
    # What is not there now never will be.
    for _ in range(LAST_TRIES):
        uploader.upload()
        if not any(log.has_grown() for log in logs):
            break
    return code if code >= 0 else 128 - code


def _wait(step: subprocess.Popen[bytes], uploader: Uploader) -> int:
    started = time.monotonic()
    due = started
    while True:
        try:
            return step.wait(LOOK)
        except subprocess.TimeoutExpired:  # noqa: PERF203  # waiting is what the loop is for
            now = time.monotonic()
            if now >= due and uploader.upload():
                due = now + pause(now - started)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
