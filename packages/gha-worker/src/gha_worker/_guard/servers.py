"""Persistent servers: processes that stay and run one job after another."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import threading
from typing import TYPE_CHECKING, Any

from gha_worker._guard.ending import Ended, Ending
from gha_worker._guard.guard import remove_tree
from gha_worker._guard.guarded_script import bounds_fields, ended, guard_died

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from gha_worker._guard.guarded_script import SpareGuards, Task
    from gha_worker._jobs.command_job import Server

PATIENCE = 30.0
"""Seconds within which a server must begin a job; for the first one its own start is included."""

FAILURES = 3
"""After so many a server is given up."""

_SHOWN = 4096


class Servers:
    """The persistent servers of one worker: at most `limit` processes, each with its own guard.

    A server is known by its script and the directory that was prepared for it; each of its
    processes runs one job at a time, so there may be several. They see `environment`, in which no
    job's secret may be. `say` hears once of each server that is given up. Everything lies below
    `root`. Safe to use from any thread.
    """

    def __init__(
        self,
        root: Path,
        environment: Mapping[str, str],
        guards: SpareGuards,
        limit: int,
        say: Callable[[str], None],
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._root = root
        self._environment = environment
        self._guards = guards
        self._limit = limit
        self._say = say
        self._patience = patience
        self._lock = threading.Lock()
        self._failures: dict[str, int] = {}
        self._idle: list[_ServerProcess] = []
        """The one that was used last comes last."""
        self._busy = 0
        self._closed = False

    def begin(
        self, task: Task, server: Server, prepared: Path | None, job: str, attempt: int
    ) -> ServedRequest | None:
        """Hand a job to its server, to a warm process of it if there is one.

        `task` is the job as it would run plainly: the server is told all of it and does the same.
        None when it has to run plainly at once: its server is given up, or no process of any
        server is free. Raises OSError when the machine cannot start one.
        """
        identity = f"{prepared}\0{server.script}".encode("utf-8", "surrogatepass")
        key = hashlib.sha256(identity).hexdigest()[:16]
        task.output.touch(mode=0o600)
        with self._lock:
            if self._closed or self._failures.get(key, 0) >= FAILURES:
                return None
            warm = next((idle for idle in reversed(self._idle) if idle.key == key), None)
            leaving: list[_ServerProcess] = []
            if warm is not None:
                self._idle.remove(warm)
            elif self._busy >= self._limit:
                return None
            else:
                surplus = max(0, len(self._idle) + self._busy + 1 - self._limit)
                leaving, self._idle = self._idle[:surplus], self._idle[surplus:]
            self._busy += 1
        if warm is not None and not warm.current():
            leaving, warm = [warm], None
        for idle in leaving:
            idle.end()
        try:
            process = warm or self._start(key, task, server, prepared)
        except OSError:
            with self._lock:
                self._busy -= 1
            raise
        request = {
            "job": job,
            "attempt": attempt,
            "script": str(task.script),
            "request": server.request,
            "env": dict(task.environment),
            "directory": str(task.directory),
            "output": str(task.output),
        }
        process.begin({**bounds_fields(task), "patience": self._patience}, request)
        self._guards.refill()
        return ServedRequest(self, process, task.output, job)

    def close(self) -> None:
        """End the servers without a job; one that has a job ends with it."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _start(self, key: str, task: Task, server: Server, prepared: Path | None) -> _ServerProcess:
        home = self._root / f"s{next(_numbers)}"
        try:
            temporary = home / "tmp"
            temporary.mkdir(mode=0o700, parents=True)
            script = home / "script"
            script.touch(mode=0o600)
            script.write_text(server.script, encoding="utf-8", errors="surrogatepass")
            environment = {**self._environment, "TMPDIR": str(temporary)}
            if prepared is not None:
                environment["GHA_WORKER_PREPARED"] = str(prepared)
            fields = {
                "script": str(script),
                "env": environment,
                "cwd": str(prepared or home),
                "home": str(task.home),
                "title": "server",
                "nice": task.nice,
            }
            return _ServerProcess(key, home, prepared or home, self._guards, fields)
        except OSError:
            remove_tree(str(home))
            raise

    def finished(self, process: _ServerProcess, *, serves: bool) -> None:
        """Take back the process that a request was handed to."""
        with self._lock:
            keep = serves and not self._closed
            if keep:
                self._idle.append(process)
            self._busy -= 1
        if not keep:
            process.end()

    def failed(self, key: str, job: str, fault: str) -> None:
        """Remember that a process of this server did something wrong with a job."""
        with self._lock:
            self._failures[key] = self._failures.get(key, 0) + 1
            given_up = self._failures[key] == FAILURES
        if given_up:
            self._say(
                f"the server of job {job} is given up after {FAILURES} failures, of which the last"
                f" was that {fault}: its jobs run as plain processes from now on"
            )


_numbers = itertools.count(1)


class _ServerProcess:
    """One process of a server, below its guard."""

    def __init__(
        self,
        key: str,
        home: Path,
        directory: Path,
        guards: SpareGuards,
        fields: Mapping[str, object],
    ) -> None:
        self.key = key
        self.requests = 0
        self.log = home / "log"
        self._home = home
        self._directory = directory
        # While it is open no other directory can have its number.
        self._anchor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.guard = guards.take()
        except OSError:
            os.close(self._anchor)
            raise
        self.guard.tell({"serve": {**fields, "output": str(self.log)}})

    def current(self) -> bool:
        """Whether it runs, in the directory that bears its name now: one may be prepared anew."""
        self.guard.hear()
        try:
            same = os.path.samestat(os.fstat(self._anchor), self._directory.stat())
        except OSError:
            return False
        return same and not self.guard.gone

    def begin(self, bounds: Mapping[str, object], request: Mapping[str, object]) -> None:
        # Nobody reads it from here on, and it must not fill the disk.
        with contextlib.suppress(OSError):
            os.truncate(self.log, 0)
        self.requests += 1
        self.guard.tell({**bounds, "request": {"id": self.requests, **request}})

    def end(self) -> None:
        self.guard.end()
        os.close(self._anchor)
        remove_tree(str(self._home))


class ServedRequest:
    """A job that a server runs: a :class:`gha_worker._guard.running.Running`.

    When the job has ended by itself its server goes on; whatever else ends it ends the server too.
    """

    def __init__(self, servers: Servers, process: _ServerProcess, output: Path, job: str) -> None:
        self._servers = servers
        self._process = process
        self._output = output
        self._job = job
        self._lock = threading.Lock()
        self._left = False
        self._serves = False
        self._ended: Ended | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._left = True  # the next job's deadline is none of this one's business
        self._servers.finished(self._process, serves=self._serves)

    @property
    def guard_pid(self) -> int:
        return self._process.guard.pid

    def fileno(self) -> int:
        """Readable as soon as :meth:`poll` has something new."""
        return self._process.guard.fileno()

    def extend(self, deadline: float) -> None:
        """Let the job run until `deadline`; safe to call from any thread."""
        self._tell({"deadline": deadline})

    def stop(self, grace: float) -> None:
        """Ask job and server to end, and kill them after `grace` seconds; from any thread."""
        self._tell({"stop": grace})

    def poll(self) -> Ended | None:
        """How the job ended, None while it runs. Never blocks."""
        guard = self._process.guard
        if self._ended is None:
            for message in guard.hear():
                if "ended" in message:
                    self._end(ended(message), message)
            if self._ended is None and guard.gone:
                # A guard that ends well without a word about this job has not handed it over.
                code = guard.bury()
                if code != 0:
                    self._ended = guard_died(code)
                else:
                    fault = "it ended at once" if self._process.requests == 1 else None
                    self._end(Ended(Ending.DECLINED, None, None, 0.0), {"fault": fault})
        return self._ended

    def _end(self, how: Ended, message: Mapping[str, Any]) -> None:
        self._ended = how
        self._serves = message.get("serves", False)
        fault = message["fault"]
        if fault is not None:
            self._explain(fault)
            self._servers.failed(self._process.key, self._job, fault)

    def _explain(self, fault: str) -> None:
        """Tell the job's own readers what the public log must not hold."""
        text = f"gha-worker: the server of this job failed: {fault}\n".encode()
        with contextlib.suppress(OSError):
            if self._process.requests == 1:  # later on it may hold what other jobs keep secret
                text += self._process.log.read_bytes()[-_SHOWN:]
            with self._output.open("ab") as output:
                output.write(text)

    def _tell(self, message: Mapping[str, object]) -> None:
        with self._lock:
            if not self._left:
                self._process.guard.tell(message)
