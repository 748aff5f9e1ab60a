"""The queue as its users see it."""

from __future__ import annotations

import contextlib
import math
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gha_queue import _endings, _keys, _opening, _workers
from gha_queue._calls import Calls, Meter, Patience, Requests
from gha_queue._claim import Claim, deadline_after
from gha_queue._control import ensure_control, read_control, rewrite_control
from gha_queue._errors import (
    InvalidJobError,
    InvalidQueueError,
    JobNotFoundError,
    QueueClosedError,
    QueueNotFoundError,
    RecordError,
    StoreUnavailableError,
    WaitTimeoutError,
)
from gha_queue._places import parse_place
from gha_queue._ready import Ready
from gha_queue._records import (
    PAYLOAD_LIMIT,
    Control,
    Job,
    Json,
    Outcome,
    OutcomeKind,
    Settings,
    Stats,
    Status,
    WorkerSeen,
    claim_fields,
    job_fields,
    job_from,
    json_size,
)
from gha_queue._rules import due_after
from gha_queue._runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue._keys import Marker
    from gha_queue._s3 import S3Client
    from gha_queue._store import Store

MISSES_PER_LISTING = 2
WAIT_FIRST, WAIT_LONGEST, WAIT_GROWTH = 0.25, 3.0, 1.5
REAP_INTERVAL = 15.0


@dataclass(frozen=True)
class _Opened:
    settings: Settings
    calls: Calls
    beats: Calls
    ready: Ready


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

    `client` is any object with the S3 calls of boto3; None means a boto3 client from the
    environment, AWS_ENDPOINT_URL_S3 included. `lease` and `heartbeat` are in seconds. A claim
    without a heartbeat counts as lost after the lease and a grace of 5 seconds.

    Every method may raise StoreUnavailableError after bounded retries, and a BucketError.
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
        self._control_lock = threading.Lock()
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

    def create(self, keepalive: float | None = None) -> None:
        """Create the queue as its owner; safe to repeat.

        Raises MissingBucketError, AccessDeniedError, WrongRegionError or EndpointUnreachableError
        where the bucket cannot be used, soon and before anything is written. With `keepalive`
        the owner promises to call `renew` more often than every so many seconds; when that
        stops, workers cancel what runs and leave.
        """
        if self._wanted is None:
            raise InvalidQueueError(f"{self._url} is attached to: only its owner creates it")
        if keepalive is not None and not (math.isfinite(keepalive) and keepalive > 0):
            raise InvalidQueueError(f"keepalive={keepalive!r}: give a positive number of seconds")
        self._calls().impatient().page(_keys.JOBS, limit=1)
        opened = self._open()
        with self._control_lock:
            ensure_control(opened.calls, keepalive)

    def put(
        self,
        payload: Json,
        *,
        id: str | None = None,  # noqa: A002 - the public word for it
        max_attempts: int = 1,
        priority: int = 5,
        delay: float = 0.0,
        need: str = "",
    ) -> Job:
        """Add a job; an id that is taken returns the first job of that id, marked `duplicate`.

        `payload` is JSON of at most 256 KiB; `priority` 0 goes first, 9 last; `delay` is in
        seconds, at a grain of one or two, never early; `need` is what `claim(accept=...)` judges.
        Raises InvalidJobError, QueueClosedError. A paused queue accepts jobs. Costs 2 PUT, 1 GET.
        """
        _check_payload(payload)
        if not (math.isfinite(delay) and delay >= 0):
            raise InvalidJobError(f"delay={delay!r}: give a number of seconds from 0 on")
        opened = self._open()
        calls = opened.calls
        job = Job(
            id=calls.runtime.token() if id is None else id,
            payload=payload,
            max_attempts=max_attempts,
            priority=priority,
            need=need,
            due=due_after(self._meter.now, delay),
        )
        creation = calls.create(_keys.job_key(job.id), job_fields(job))
        if creation.won:
            calls.write_raw(job.marker(1, job.due).key, b"")
            ours = True
        else:
            standing = job_from(_keys.job_key(job.id), creation.standing)
            job = replace(standing, duplicate=True)
            ours = _endings.restore_marker(calls, job)
        # Only now: a close before this look is seen, a close after it finds the marker.
        if read_control(calls).status is Status.CLOSED:
            if ours:
                _endings.cancel(calls, job.id)
            raise QueueClosedError(self._url, job.id)
        return job

    def job(self, id: str) -> Job | None:  # noqa: A002
        """Return the job of this id, None if there is none. 1 GET."""
        return _endings.read_job(self._open().calls, _keys.check_id(id))

    def claim(self, worker: str, accept: Callable[[str], bool] | None = None) -> Claim | None:
        """Claim a due attempt of the best priority, None if there is none that `accept` takes.

        `accept` gets the job's `need`. `worker` is the name that outcomes will give. Does not
        read control: whether to claim from a paused or closed queue is the worker's decision.
        Costs 1 PUT, 2 GET and 1 DELETE, a LIST now and then; more where others were faster.
        """
        opened = self._open()
        misses = 0
        while True:
            marker = opened.ready.next(accept)
            if marker is None:
                return None
            claim = self._try_claim(opened, marker, worker)
            if claim is not None:
                return claim
            misses += 1
            if misses % MISSES_PER_LISTING == 0:
                opened.ready.forget()

    def outcome(self, id: str) -> Outcome | None:  # noqa: A002
        """Return how the job ended, None while it has not. 1 GET per attempt.

        Raises JobNotFoundError.
        """
        calls = self._open().calls
        outcome, number = _endings.final_outcome(calls, _keys.check_id(id))
        if outcome is None and number == 1 and calls.read(_keys.job_key(id)).body is None:
            raise JobNotFoundError(id)
        return outcome

    def wait(self, id: str, timeout: float | None = None) -> Outcome:  # noqa: A002
        """Return how the job ended as soon as it has, reaping lost claims meanwhile.

        Looks after 0.25 s, then ever more rarely, to every 3 s. Raises WaitTimeoutError after
        `timeout` seconds, JobNotFoundError.
        """
        runtime = self._runtime
        outcome = self.outcome(id)
        calls, number, pause = self._open().calls, 1, WAIT_FIRST
        started = reaped = runtime.monotonic()
        while outcome is None:
            elapsed = runtime.monotonic() - started
            if timeout is not None and elapsed >= timeout:
                raise WaitTimeoutError(id, timeout)
            left = math.inf if timeout is None else timeout - elapsed
            runtime.sleep(min(runtime.jitter(pause), left))
            pause = min(WAIT_LONGEST, pause * WAIT_GROWTH)
            if runtime.monotonic() - reaped >= REAP_INTERVAL:
                self.reap()
                reaped = runtime.monotonic()
            outcome, number = _endings.final_outcome(calls, id, number)
        return outcome

    def cancel(self, id: str) -> Outcome:  # noqa: A002
        """End the job, waiting or running, and return its final outcome, cancelled or not.

        Who runs it learns so with the next heartbeat. Raises JobNotFoundError.
        """
        return _endings.cancel(self._open().calls, _keys.check_id(id))

    def reap(self) -> int:
        """Settle as lost the attempts that nobody keeps alive; return how many these were.

        Also finishes what crashes left half done. Anyone may call it at any time. Costs 1 LIST
        per 1,000 running attempts.
        """
        opened = self._open()
        return _endings.reap(opened.calls, opened.settings)

    def close(self, cancel: bool = False) -> None:
        """Take no more jobs. Workers leave when the rest is done, with `cancel` at once."""
        self._steer(
            lambda control: replace(control, status=Status.CLOSED, cancel=control.cancel or cancel)
        )

    def pause(self) -> None:
        """Let workers claim nothing until `resume`; what runs goes on, puts are accepted."""
        self._steer(lambda control: _unless_closed(control, Status.PAUSED))

    def resume(self) -> None:
        """End a pause. A closed queue stays closed."""
        self._steer(lambda control: _unless_closed(control, Status.OPEN))

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
        """Count waiting, running and dead jobs. 1 LIST per 1,000 of each kind."""
        calls = self._open().calls
        markers = [_keys.parse_marker(entry.key) for entry, _ in calls.entries(_keys.READY)]
        now = self._meter.now
        waiting = [marker for marker in markers if marker is not None]
        ready = sum(marker.due <= now for marker in waiting)
        ages = [age for _, age in calls.entries(_keys.CLAIMS)]
        return Stats(
            ready=ready,
            delayed=len(waiting) - ready,
            running=len(ages),
            dead=sum(1 for _ in calls.entries(_keys.DEAD)),
            oldest_heartbeat_age=max(ages, default=None),
        )

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

    def _steer(self, change: Callable[[Control], Control]) -> None:
        calls = self._open().calls
        with self._control_lock:
            rewrite_control(calls, change)

    def _try_claim(self, opened: _Opened, marker: Marker, worker: str) -> Claim | None:
        calls, attempt = opened.calls, marker.attempt
        token = calls.runtime.token()
        sent = calls.runtime.monotonic()
        creation = calls.create(attempt.claim_key, claim_fields(worker, 0), token)
        if not creation.won:
            calls.delete(marker.key)
            return None
        # The claim key may have been free because the attempt is over and wrapped up.
        outcome = _endings.read_outcome(calls, attempt)
        try:
            job = _endings.read_job(calls, attempt.job_id)
        except RecordError as error:
            _endings.bury(calls, attempt, error)
            calls.delete(marker.key)
            return None
        if outcome is not None or job is None:
            calls.delete(marker.key)
            if outcome is not None and job is not None:
                _endings.wrap_up(calls, job, outcome)
            else:
                calls.delete(attempt.claim_key)
            return None
        claim = Claim(
            job,
            attempt,
            worker,
            token=token,
            sent=sent,
            settings=opened.settings,
            calls=calls,
            beats=opened.beats,
        )
        # A marker that stays costs somebody a miss, no more.
        with contextlib.suppress(StoreUnavailableError):
            calls.delete(marker.key)
        if calls.runtime.monotonic() >= deadline_after(sent, opened.settings):
            # This process slept through its own lease: nothing ran, so nothing is used up.
            _endings.settle(calls, job, attempt, OutcomeKind.RELEASED, worker=worker)
            return None
        return claim

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
                self._opened = _Opened(settings, calls, beats, Ready(calls))
            return self._opened

    def _beat_store(self, settings: Settings) -> Store:
        # Connecting and reading together stay below half an interval, so that a heartbeat that
        # hangs is over before the next is due and never waits behind other requests.
        return self._place.open(
            connect=min(5.0, 0.15 * settings.heartbeat), read=min(15.0, 0.3 * settings.heartbeat)
        )


def _unless_closed(control: Control, status: Status) -> Control:
    return control if control.status is Status.CLOSED else replace(control, status=status)


def _check_payload(payload: Json) -> None:
    try:
        size = json_size(payload)
    except ValueError as error:
        raise InvalidJobError(f"a payload must be JSON: {error}") from None
    if size > PAYLOAD_LIMIT:
        raise InvalidJobError(
            f"a payload has {size} bytes as JSON, the limit is {PAYLOAD_LIMIT}: store it elsewhere "
            f"and put its address"
        )
