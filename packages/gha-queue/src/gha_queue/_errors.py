"""Everything that this package raises on purpose.

QueueError
├── BucketError                 the place of the queue cannot be used as it is
│   ├── AccessDeniedError
│   ├── MissingBucketError
│   ├── UnsafeStoreError        the store ignores the condition of a write, or lists late
│   ├── UnsupportedStoreError   the store answers that it lacks conditional writes
│   └── WrongRegionError
├── InvalidFileError            (ValueError) a name that no file of a job or worker can have
├── InvalidJobError             (ValueError) an id, payload or option that no job can have
├── InvalidQueueError           (ValueError) a URL or setting that no queue can have
├── InvalidResultError          (ValueError) a result or error that no outcome can hold
├── InvalidWorkerError          (ValueError) a name or info that no worker can have
├── JobNotDeadError             only a dead job can be retried
├── JobNotFoundError            (LookupError)
│   └── JobPurgedError          it ended and was removed
├── LeaseLostError              the attempt belongs to somebody else now, or has ended
├── PutManyError                some of many jobs could not be put
├── QueueClosedError
├── QueueNotFoundError          (LookupError)
├── RecordError                 a stored record that cannot be read
├── SettingsMismatchError       the queue exists with another lease or heartbeat
├── StoreRefusedError           the store refused a request for a reason of its own
├── StoreUnavailableError       no usable answer after several tries
│   └── EndpointUnreachableError    (BucketError) no answer at all
└── WaitTimeoutError            (TimeoutError)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gha_queue._intake import NewJob
    from gha_queue._records import Job, Outcome

_SAFE_STORES = (
    "Cloudflare R2 or Tigris (both have a free tier), AWS S3, Scaleway or OVHcloud, "
    "or file:///directory on one machine's own disk"
)


class QueueError(Exception):
    """The base of every error of this package."""


class BucketError(QueueError):
    """The place of the queue cannot be used as it is."""


class AccessDeniedError(BucketError):
    """The store refused the credentials, or there are none."""

    def __init__(
        self,
        place: str,
        code: str,
        remedy: str = "check the AWS credentials, and that they may list the bucket and get, put "
        "and delete its objects",
    ) -> None:
        super().__init__(f"access to {place} was refused ({code}): {remedy}")
        self.place = place
        self.code = code


class MissingBucketError(BucketError):
    """The bucket does not exist."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"there is no bucket at {place}: create it, or correct the bucket's name, the region "
            f"or AWS_ENDPOINT_URL_S3"
        )
        self.place = place


class WrongRegionError(BucketError):
    """The bucket lives in another region than the client asks."""

    def __init__(self, place: str, region: str | None) -> None:
        where = f"in region {region}" if region else "in another region"
        super().__init__(f"the bucket of {place} is {where}: set AWS_REGION to its region")
        self.place = place
        self.region = region


class UnsafeStoreError(BucketError):
    """The store accepts conditional writes and ignores the condition, or its listings lag."""

    def __init__(self, place: str, finding: str) -> None:
        super().__init__(
            f"{place} is not safe for a queue: {finding}. Use "
            f"{_SAFE_STORES}; on Ceph a bucket without versioning"
        )
        self.place = place
        self.finding = finding


class UnsupportedStoreError(BucketError):
    """The store says that it has no conditional writes."""

    def __init__(self, place: str, code: str) -> None:
        super().__init__(
            f"{place} has no conditional writes ({code}), by which a job gets one owner: Backblaze "
            f"B2 and Aliyun OSS lack If-None-Match, some file systems lack hard links. Use "
            f"{_SAFE_STORES}"
        )
        self.place = place
        self.code = code


class InvalidFileError(QueueError, ValueError):
    """A name that no file of a job or worker can have."""


class InvalidJobError(QueueError, ValueError):
    """An id, payload or option that no job can have."""


class InvalidQueueError(QueueError, ValueError):
    """A URL or setting that no queue can have."""


class InvalidResultError(QueueError, ValueError):
    """A result or error that no outcome can hold."""


class InvalidWorkerError(QueueError, ValueError):
    """A name or info that no worker can have."""


class JobNotFoundError(QueueError, LookupError):
    """No job has this id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the queue has no job {job_id!r}: check the id, or put the job first")
        self.job_id = job_id


class JobPurgedError(JobNotFoundError):
    """The job was purged: what is known of it is that its id was used."""

    def __init__(self, job_id: str) -> None:
        QueueError.__init__(
            self,
            f"job {job_id!r} was purged, so nothing more is known of it: put a job with a new id",
        )
        self.job_id = job_id


class LeaseLostError(QueueError):
    """The attempt ended without its holder, or its deadline passed: stop the work.

    `outcome` is the outcome that stands, None when only the deadline is known to have passed.
    """

    def __init__(self, job_id: str, attempt: int, outcome: Outcome | None) -> None:
        how = f"it ended as {outcome.kind.value}" if outcome else "its deadline passed"
        super().__init__(
            f"the lease of job {job_id!r}, attempt {attempt}, is lost ({how}): stop its work and "
            f"claim another job"
        )
        self.job_id = job_id
        self.attempt = attempt
        self.outcome = outcome


class JobNotDeadError(QueueError):
    """A job that waits, runs or has succeeded cannot be retried."""

    def __init__(self, job_id: str, outcome: Outcome | None) -> None:
        state = "has succeeded" if outcome else "has not ended yet"
        super().__init__(
            f"job {job_id!r} {state}, and only a dead job can be retried: put a new job instead, "
            f"or cancel this one first"
        )
        self.job_id = job_id
        self.outcome = outcome


class PutManyError(QueueError):
    """Some of many jobs could not be put: `jobs` stand in the queue, `failed` says what does not.

    `failed` pairs each item with its error. Jobs that were given an id may simply be put again.
    """

    def __init__(
        self, jobs: tuple[Job, ...], failed: tuple[tuple[NewJob, QueueError], ...]
    ) -> None:
        super().__init__(
            f"{len(failed)} of {len(jobs) + len(failed)} jobs were not put (first: {failed[0][1]}):"
            f" put those in .failed again"
        )
        self.jobs = jobs
        self.failed = failed


class QueueClosedError(QueueError):
    """The queue takes no more jobs."""

    def __init__(self, url: str, job_ids: tuple[str, ...]) -> None:
        what = f"{len(job_ids)} jobs were not" if job_ids else "no job is"
        if len(job_ids) == 1:
            what = f"job {job_ids[0]!r} was not"
        super().__init__(f"{url} is closed, so {what} accepted: use a new queue")
        self.url = url
        self.job_ids = job_ids


class QueueNotFoundError(QueueError, LookupError):
    """There is no queue at this URL."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"there is no queue at {url}: its owner must create it first, as `gha-queue put` does"
        )
        self.url = url


class RecordError(QueueError):
    """A stored record that cannot be read: damaged, or of a newer format."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"the record {key} cannot be read: {why}")
        self.key = key
        self.why = why


class SettingsMismatchError(QueueError):
    """The queue exists with another lease or heartbeat than asked for."""

    def __init__(self, url: str, asked: tuple[float, float], found: tuple[float, float]) -> None:
        super().__init__(
            f"{url} has lease={found[0]:g} and heartbeat={found[1]:g}, not lease={asked[0]:g} and "
            f"heartbeat={asked[1]:g}: use its settings (Queue.attach does) or another prefix"
        )
        self.url = url
        self.asked = asked
        self.found = found


class StoreRefusedError(QueueError):
    """The store refused a request for a reason that trying again does not cure."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place} refused a request: {reason}")
        self.place = place
        self.reason = reason


class StoreUnavailableError(QueueError):
    """No usable answer after several tries; what was sent may still take effect."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place} gives no usable answer ({reason}): try again later")
        self.place = place
        self.reason = reason


class EndpointUnreachableError(StoreUnavailableError, BucketError):
    """The store's endpoint gives no answer at all."""

    def __init__(self, place: str, reason: str) -> None:
        QueueError.__init__(
            self,
            f"{place} does not answer ({reason}): check the network and AWS_ENDPOINT_URL_S3",
        )
        self.place = place
        self.reason = reason


class WaitTimeoutError(QueueError, TimeoutError):
    """The job did not end in time; it goes on."""

    def __init__(self, job_id: str, timeout: float) -> None:
        super().__init__(f"job {job_id!r} did not end within {timeout:g} seconds: it goes on")
        self.job_id = job_id
        self.timeout = timeout
