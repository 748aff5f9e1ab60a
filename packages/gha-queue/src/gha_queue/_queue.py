"""The queue as its users see it."""

from __future__ import annotations

import contextlib
import math
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gha_queue import (
    _endings,
    _intake,
    _introspection,
    _keys,
    _opening,
    _purge,
    _retries,
    _workers,
)
from gha_queue._calls import Calls, Meter, Patience
from gha_queue._claiming import Claiming
from gha_queue._control import Steering, read_control
from gha_queue._errors import (
    InvalidQueueError,
    InvalidWorkerError,
    JobNotDeadError,
    JobNotFoundError,
    QueueNotFoundError,
    RecordError,
    WaitTimeoutError,
)
from gha_queue._intake import NewJob
from gha_queue._named_files import Files
from gha_queue._places import parse_place
from gha_queue._ready import Ready
from gha_queue._records import (
    Control,
    Job,
    Json,
    Outcome,
    OutcomeKind,
    Settings,
    Status,
    WorkerSeen,
    check_period,
    check_seconds,
)
from gha_queue._rules import idle_pause
from gha_queue._runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gha_queue._claim import Claim
    from gha_queue._requests import Requests
    from gha_queue._s3 import S3Client
    from gha_queue._store import Store
    from gha_queue._views import DeadLetter, History, JobSeen, State, Stats

REAP_INTERVAL = 15.0


@dataclass(frozen=True)
class _Opened:
    settings: Settings
    calls: Calls
    claiming: Claiming


class Queue:
    """A job queue below a prefix of an S3 bucket, in a directory or in memory.

    `url` is `s3://bucket/prefix`, `file:///absolute/directory` for the processes of one machine,
    or `memory://name` for one process. Safe to share between threads.

    At least once delivery, exactly one outcome per attempt, at most one successful outcome per
    job. Nothing is promised about order within a priority.

    The constructor sends nothing. The first use reads the queue's record and, if there is none,
    creates the queue: it probes the store (about 150 requests, under a second nearby) and refuses
    one that ignores conditional writes (UnsafeStoreError, UnsupportedStoreError). A queue that
    exists with another lease or heartbeat raises SettingsMismatchError.

    `client` is any object with the S3 calls of boto3; None means botocore's from the
    environment, AWS_ENDPOINT_URL_S3 included. `lease` and `heartbeat` are in seconds. A claim
    without a heartbeat counts as lost after the lease and a grace of 5 seconds.

    Every method may raise StoreUnavailableError after bounded retries, StoreRefusedError, a
    BucketError, and RecordError where a record is damaged or of a newer format.
    """

    def __init__(
        self,
        url: str,
        client: S3Client | None = None,
        lease: float = 60.0,
        heartbeat: float = 15.0,
        *,
        runtime: Runtime | None = None,
    ) -> None:
        self._place = parse_place(url, client)
        self._url = url
        self._wanted: Settings | None = Settings(lease, heartbeat)
        self._runtime = runtime or Runtime()
        self._meter = Meter(self._runtime)
        self._lock = threading.Lock()
        self._steering = Steering()
        self._first_calls: Calls | None = None
        self._opened: _Opened | None = None

    @classmethod
    def attach(
        cls, url: str, client: S3Client | None = None, *, runtime: Runtime | None = None
    ) -> Queue:
        """Return a queue whose settings come from its record, as workers need it.

        Its first use raises QueueNotFoundError if nobody has created the queue.
        """
        queue = cls(url, client, runtime=runtime)
        queue._wanted = None
        return queue

    @property
    def url(self) -> str:
        """The address of the queue."""
        return self._url

    @property
    def settings(self) -> Settings:
        """Lease and heartbeat of the queue, in seconds."""
        return self._open().settings

    @property
    def requests(self) -> Requests:
        """How many requests this object has sent, by S3 operation."""
        return self._meter.requests

    @property
    def now(self) -> float:
        """The server's time in seconds since 1970: as last heard, and the time since.

        Right to a second. Sends nothing, except where it is the first use.
        """
        return self._open().calls.meter.now

    def create(self, keepalive: float | None = None) -> None:
        """Create the queue as its owner; safe to repeat.

        Raises MissingBucketError, AccessDeniedError, WrongRegionError or EndpointUnreachableError
        where the bucket cannot be used, soon and before anything is written. With `keepalive`
        the owner promises to call `renew` more often than every so many seconds; when that
        stops, workers cancel what runs and leave.
        """
        if self._wanted is None:
            raise InvalidQueueError(f"{self._url} is attached to: only its owner creates it")
        if keepalive is not None:
            check_period("keepalive", keepalive)
        self._calls().impatient().page(_keys.JOBS, limit=1)
        opened = self._open()
        self._steering.ensure(opened.calls, keepalive)

    def put(
        self,
        payload: Json,
        *,
        id: str | None = None,  # noqa: A002 - the public word for it
        max_attempts: int = 1,
        priority: int = 5,
        delay: float = 0.0,
        need: str = "",
        backoff: float = 1.0,
    ) -> Job:
        """Add a job; an id that is taken returns the first job of that id, marked `duplicate`.

        `payload` is JSON of at most 256 KiB; `priority` 0 goes first, 9 last; `delay` is in
        seconds, at a grain of one or two, never early by the server's time as last heard; `need`
        is what `claim(accept=...)` judges. Up to `max_attempts` attempts may fail or be lost; after
        a failure the job rests for `backoff` seconds, doubled each time. A purged id stays taken
        for a day.
        Raises InvalidJobError, QueueClosedError. A paused queue accepts jobs. Costs 2 PUT, 1 GET.
        """
        new = NewJob(payload, id, max_attempts, priority, delay, need, backoff)
        calls = self._open().calls
        entered = _intake.enter(calls, new.to_job(calls))
        _intake.refuse_if_closed(calls, self._url, [entered])
        return entered.job

    def put_many(self, items: Iterable[NewJob]) -> list[Job]:
        """Add many jobs, 32 at a time, and return them in the order of the items.

        An item that no job can be raises InvalidJobError before anything is sent. What cannot be
        sent is told by PutManyError, all else stands then; QueueClosedError means none stands,
        StoreUnavailableError that all were sent, but not whether the queue is closed. Costs 2 PUT
        per job, and 1 GET in all.
        """
        return _intake.put_all(self._open().calls, self._url, items)

    def job(self, id: str) -> Job | None:  # noqa: A002
        """Return the job of this id, None if there is none. 1 GET."""
        return _endings.read_job(self._open().calls, _keys.check_id(id))

    def claim(self, worker: str, accept: Callable[[str], bool] | None = None) -> Claim | None:
        """Claim a due attempt of the best priority, None if there is none that `accept` takes.

        `accept` gets the job's `need`. `worker` is the name that outcomes will give. Does not
        read control: whether to claim from a paused or closed queue is the worker's decision.
        Jobs of a better priority go first within 15 seconds, later where many workers meet.
        Raises InvalidWorkerError. Costs 1 PUT, 2 GET and 1 DELETE in two round trips, a LIST now
        and then, 1 PUT and 1 or 2 GET and a LIST where another was faster, and 1 LIST per 1,000
        jobs that `accept` refuses. `accept` must not use this queue.
        """
        _keys.check_worker(worker)
        return self._open().claiming.claim(worker, accept)

    def needs(self) -> frozenset[str]:
        """Return the needs of the due jobs of the best priority that the last `claim` left waiting.

        As it listed them, up to 15 seconds ago and 1,000 jobs at most; others may have taken them
        since. For a worker that wants to make room for what `accept` refused. No request.
        """
        return self._open().claiming.ready.needs()

    def outcome(self, id: str) -> Outcome | None:  # noqa: A002
        """Return how the job, or its newest retry, ended; None while it has not.

        1 GET per attempt, 1 more for a dead job or one that has not ended. Raises
        JobNotFoundError, JobPurgedError.
        """
        trail = _retries.Trail(self._open().calls, id)
        outcome = trail.look()
        return trail.look() if outcome is None and trail.check() else outcome

    def wait(self, id: str, timeout: float | None = None) -> Outcome:  # noqa: A002
        """Return how the job ended as soon as it has, reaping lost claims meanwhile.

        Of a job that was retried, how the newest retry ended. Looks after 0.25 s, then ever more
        rarely, to every 3 s. Raises WaitTimeoutError after `timeout` seconds, JobNotFoundError,
        JobPurgedError.
        """
        if timeout is not None and not timeout >= 0:
            raise InvalidQueueError(f"timeout={timeout!r}: give a number of seconds, or None")
        runtime = self._runtime
        trail = _retries.Trail(self._open().calls, id)
        started = reaped = runtime.monotonic()
        looks = 0
        while True:
            outcome = trail.look()
            if outcome is not None:
                return outcome
            if looks == 0:
                trail.check()
            looks += 1
            elapsed = runtime.monotonic() - started
            if timeout is not None and elapsed >= timeout:
                raise WaitTimeoutError(id, timeout)
            left = math.inf if timeout is None else timeout - elapsed
            runtime.sleep(min(idle_pause(looks, runtime.random.random()), left))
            if runtime.monotonic() - reaped >= REAP_INTERVAL:
                trail.check()
                self.reap()
                reaped = runtime.monotonic()

    def cancel(self, id: str) -> Outcome:  # noqa: A002
        """End the job, or its newest retry, and return its final outcome, cancelled or not.

        Who runs it learns so with the next heartbeat. 2 GET per attempt and retry, and 2 PUT.
        Raises JobNotFoundError, JobPurgedError.
        """
        calls = self._open().calls
        return _endings.cancel(calls, _retries.newest(calls, id))

    def retry(self, id: str) -> Job:  # noqa: A002
        """Put a dead job again, as a new job that points back; return that job.

        It has the payload and options of the dead one and the id `<id>~1`, `<id>~2` and so on,
        by which `wait` and `outcome` follow it. Two retries at the same time make one job. Raises
        JobNotDeadError, JobNotFoundError, JobPurgedError, QueueClosedError. Costs 2 PUT and 5 GET,
        and 1 GET more per retry before.
        """
        return _retries.retry(self._open().calls, self._url, id)

    def redrive(self) -> list[Job]:
        """Retry every dead job, those that were cancelled excepted; return the new jobs.

        One after another, each as by `retry`; what cannot be read stays dead.
        """
        jobs: list[Job] = []
        for letter in self.dead():
            if letter.kind is not OutcomeKind.CANCELLED:
                with contextlib.suppress(JobNotDeadError, JobNotFoundError, RecordError):
                    jobs.append(self.retry(letter.job_id))
        return jobs

    def purge(self, older_than: float = 0.0, state: State | None = None) -> int:
        """Remove the jobs that ended at least so many seconds ago; return how many these were.

        `state` DEAD or SUCCEEDED removes only these; a job goes together with its retries, by the
        state of the newest. Payloads, files and dead letters go at once, and listings show the job
        no more. Its outcomes, and a tombstone that keeps late requests from bringing it back, go
        with the first purge a day later; put its id again only when no purge is running. Costs
        1 LIST per 1,000 jobs, outcomes and files, and 2 PUT and 2 GET per job removed.
        """
        check_seconds("older_than", older_than, InvalidQueueError)
        return _purge.purge(self._open().calls, older_than, state)

    def reap(self) -> int:
        """Settle as lost the attempts that nobody keeps alive; return how many these were.

        Also finishes what crashes left half done. Anyone may call it at any time. Costs 1 LIST
        per 1,000 running attempts.
        """
        opened = self._open()
        return _endings.reap(opened.calls, opened.settings)

    def close(self, cancel: bool = False) -> None:
        """Take no more jobs. Workers leave when the rest is done, with `cancel` at once.

        For good where one Queue object steers the queue; what others write to the control record
        at the same moment may replace it. So may a `pause` or `renew` before it whose answer never
        came, until this object's next `close` or `renew`.
        """
        self._steer(
            lambda control: replace(control, status=Status.CLOSED, cancel=control.cancel or cancel)
        )

    def pause(self) -> None:
        """Let workers claim nothing until `resume`; what runs goes on, puts are accepted."""
        self._steer(lambda control: _unless_closed(control, Status.PAUSED))

    def resume(self) -> None:
        """End a pause. A closed queue stays closed."""
        self._steer(lambda control: _unless_closed(control, Status.OPEN))

    def drain(self, names: Iterable[str]) -> None:
        """Let these workers claim no more, and leave when what they run has ended.

        Adds to those that are drained already; a name stays drained. Raises InvalidWorkerError.
        1 GET, 1 PUT.
        """
        if isinstance(names, str):
            raise InvalidWorkerError(f"{names!r} is one name: give a list of workers' names")
        drained = frozenset(map(_keys.check_worker, names))
        self._steer(lambda control: replace(control, drain=control.drain | drained))

    def limit_slots(self, slots: int | None) -> None:
        """Let each worker run at most so many jobs at a time, None as many as it can.

        What runs beyond that goes on. 1 GET, 1 PUT.
        """
        if slots is not None and not (type(slots) is int and slots >= 1):
            raise InvalidQueueError(
                f"slots={slots!r}: give a number from 1, or None; `pause` stops all claims"
            )
        self._steer(lambda control: replace(control, slots=slots))

    def renew(self) -> None:
        """Show that the owner is alive: the age of the control record restarts. 1 GET, 1 PUT."""
        self._steer(lambda control: control)

    def state(self) -> Control:
        """Return what the owner last said. 1 GET."""
        return read_control(self._open().calls)

    def drained(self) -> bool:
        """Whether nothing waits, not even delayed, and nothing runs. 2 LIST, 3 if so.

        The second look at `ready/` sees an attempt that followed between the first two.
        """
        calls = self._open().calls
        return not any(
            calls.page(prefix, limit=1).entries
            for prefix in (_keys.READY, _keys.CLAIMS, _keys.READY)
        )

    def stats(self) -> Stats:
        """Count the jobs by state. 1 LIST per 1,000 jobs, and 1 per 1,000 of each other state."""
        return _introspection.count_jobs(self._open().calls)

    def jobs(self, state: State | None = None) -> Iterator[JobSeen]:
        """Return the jobs in a state, or all. LISTs as for `stats`; fewer for a given state."""
        return _introspection.list_jobs(self._open().calls, state)

    def dead(self) -> Iterator[DeadLetter]:
        """Yield the jobs that ended without success and were not retried. 2 GET for each."""
        return _introspection.list_dead(self._open().calls)

    def history(self, id: str) -> History:  # noqa: A002
        """Return the life of one job, of a purged one too as long as its outcomes stand.

        1 GET per attempt and retry, and 3 more. Raises JobNotFoundError.
        """
        return _introspection.read_history(self._open().calls, id)

    def enroll(self, name: str, info: Json) -> bool:
        """Register a worker under a name nobody has had; False if somebody had it. 1 PUT."""
        return _workers.enroll(self._open().calls, name, info)

    def report(self, name: str, info: Json) -> None:
        """Show that a worker is alive, and what it has to say. 1 PUT."""
        _workers.report(self._open().calls, name, info)

    def leave(self, name: str) -> None:
        """Mark that a worker left in good order. 1 PUT."""
        _workers.leave(self._open().calls, name)

    def workers(self) -> tuple[WorkerSeen, ...]:
        """Return all workers by name, without their info. 1 LIST per 500 to 1,000 workers."""
        return _workers.list_workers(self._open().calls)

    def worker(self, name: str) -> WorkerSeen | None:
        """Return one worker with its info, None if it never came. 2 GET."""
        return _workers.find_worker(self._open().calls, name)

    def job_files(self, id: str) -> Files:  # noqa: A002
        """Return the files of a job, such as its log: keys `files/jobs/<id>/<name>`.

        A purge removes them with the job's payload, and a day later what was put meanwhile. The job
        need not be there yet.
        """
        return Files(self._open().calls, _keys.job_files(_keys.check_id(id)))

    def worker_files(self, name: str) -> Files:
        """Return the files of a worker: keys `files/workers/<worker>/<name>`. Nothing removes them."""
        return Files(self._open().calls, _keys.worker_files(_keys.check_worker(name)))

    def _steer(self, change: Callable[[Control], Control]) -> None:
        self._steering.rewrite(self._open().calls, change)

    def _calls(self) -> Calls:
        with self._lock:
            if self._first_calls is None:
                self._first_calls = Calls(self._place.open(), self._runtime, self._meter)
            return self._first_calls

    def _open(self) -> _Opened:
        if self._opened is not None:
            return self._opened
        calls = self._calls()
        with self._lock:
            if self._opened is None:
                settings = self._wanted
                if settings is None:
                    settings = _opening.find_queue(calls)
                    if settings is None:
                        raise QueueNotFoundError(self._url)
                else:
                    _opening.found_queue(calls, settings)
                beats = Calls(
                    self._beat_store(settings), self._runtime, self._meter, Patience(tries=1)
                )
                claiming = Claiming(calls, beats, Ready(calls), settings)
                self._opened = _Opened(settings, calls, claiming)
            return self._opened

    def _beat_store(self, settings: Settings) -> Store:
        # Connecting and reading together stay below half an interval, so that a heartbeat that
        # hangs is over before the next is due and never waits behind other requests.
        return self._place.open(
            connect=min(5.0, 0.15 * settings.heartbeat), read=min(15.0, 0.3 * settings.heartbeat)
        )


def _unless_closed(control: Control, status: Status) -> Control:
    return control if control.status is Status.CLOSED else replace(control, status=status)
