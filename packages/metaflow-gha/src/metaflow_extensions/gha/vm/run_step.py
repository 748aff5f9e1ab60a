"""Runs one step's command on the VM and keeps its logs where Metaflow's readers look.

One process in place of Metaflow's two `tee`s and three `save_logs`: it reads the step's output, stamps each line as
mflog does, and uploads what is new while the step runs. The objects it writes are the ones `flow.py logs`,
`task.stdout` and the UI read.

    python -m metaflow_extensions.gha.vm.run_step COMMAND        COMMAND is given to bash

The exit code is the command's, 128 + n after signal n. An upload that fails never fails the step.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

STREAMS = ("stdout", "stderr")

# Between two uploads of a log at least this many seconds pass: each upload is a PUT of the whole
# log.
SHORTEST_PAUSE = 1.0
# Beyond this size a log is handed over as a file, not as bytes.
SMALL_LOG = 1 << 20


@dataclass
class Log:
    """One stream of the step: a file of mflog lines and how much of it the datastore has."""

    stream: str
    path: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    uploaded: int = 0

    def follow(self, pipe: IO[bytes]) -> None:
        """Stamp and keep every line until the step closes the stream."""
        from metaflow.mflog import TASK_LOG_SOURCE
        from metaflow.mflog.mflog import decorate

        with self.path.open("ab", buffering=0) as file:
            for line in pipe:
                text = line if line.endswith(b"\n") else line + b"\n"
                stamped = decorate(TASK_LOG_SOURCE, text)
                with self.lock:
                    file.write(stamped)

    def unsent(self) -> int:
        """The log's size if the datastore does not have all of it, otherwise 0."""
        size = self.path.stat().st_size
        return size if size > self.uploaded else 0


class Uploader:
    """Puts the logs of one try into the datastore."""

    def __init__(self, logs: list[Log], directory: Path) -> None:
        self.logs = logs
        self.directory = directory
        self._datastore: Any = None

    def upload(self) -> None:
        """Send every log that has grown. A failure is told and left for the next time."""
        grown: dict[str, Any] = {}
        sizes: dict[str, int] = {}
        for log in self.logs:
            size = log.unsent()
            if size:
                with log.lock:
                    content = log.path.read_bytes() if size < SMALL_LOG else self._copy(log)
                grown[log.stream], sizes[log.stream] = content, size
        if not grown:
            return
        try:
            from metaflow.mflog import TASK_LOG_SOURCE

            self._task_datastore().save_logs(TASK_LOG_SOURCE, grown)
        except Exception as error:  # noqa: BLE001  # whatever S3 says, the step goes on
            sys.stderr.write(f"[gha] could not upload the logs: {error}\n")
            return
        for log in self.logs:
            log.uploaded = sizes.get(log.stream, log.uploaded)

    def _copy(self, log: Log) -> Any:
        from metaflow.util import Path as MetaflowPath

        frozen = self.directory / f"{log.stream}.upload"
        frozen.write_bytes(log.path.read_bytes())
        return MetaflowPath(str(frozen))

    def _task_datastore(self) -> Any:
        if self._datastore is None:
            from metaflow.datastore import FlowDataStore
            from metaflow.plugins import DATASTORES

            flow, run_id, step, task_id = os.environ["MF_PATHSPEC"].split("/")
            storage = next(d for d in DATASTORES if os.environ["MF_DATASTORE"] == d.TYPE)
            root = storage.get_datastore_root_from_config(lambda *_, **__: None)
            flow_datastore = FlowDataStore(flow, None, storage_impl=storage, ds_root=root)
            self._datastore = flow_datastore.get_task_datastore(
                run_id, step, task_id, int(os.environ["MF_ATTEMPT"]), mode="w"
            )
        return self._datastore


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
    logs = [Log(stream, directory / stream) for stream in STREAMS]
    for log in logs:
        log.path.touch()
    environment = {**os.environ, **{f"MFLOG_{log.stream.upper()}": str(log.path) for log in logs}}
    step = subprocess.Popen(
        ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    # An orderly stop reaches the step as well; this process stays to send the last lines.
    signal.signal(signal.SIGTERM, lambda *_: step.terminate())
    pipes = [step.stdout, step.stderr]
    followers = [
        threading.Thread(target=log.follow, args=(pipe,), daemon=True)
        for log, pipe in zip(logs, pipes, strict=True)
    ]
    for follower in followers:
        follower.start()
    uploader = Uploader(logs, directory)
    code = _wait(step, uploader)
    for follower in followers:
        # A child that the step left behind may hold the stream open: the log ends with the step.
        follower.join(timeout=2.0)
    uploader.upload()
    return code if code >= 0 else 128 - code


def _wait(step: subprocess.Popen[bytes], uploader: Uploader) -> int:
    from metaflow.mflog import update_delay

    started = time.monotonic()
    while True:
        try:
            return step.wait(max(SHORTEST_PAUSE, update_delay(time.monotonic() - started)))
        except subprocess.TimeoutExpired:  # noqa: PERF203  # waiting is what the loop is for
            uploader.upload()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
