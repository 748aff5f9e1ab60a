"""A job queue in an S3 bucket: at least once delivery, exactly one outcome per attempt."""

from __future__ import annotations

from gha_queue._claim import Claim
from gha_queue._errors import (
    AccessDeniedError,
    BucketError,
    EndpointUnreachableError,
    InvalidFileError,
    InvalidJobError,
    InvalidQueueError,
    InvalidResultError,
    InvalidWorkerError,
    JobNotDeadError,
    JobNotFoundError,
    JobPurgedError,
    LeaseLostError,
    MissingBucketError,
    PutManyError,
    QueueClosedError,
    QueueError,
    QueueNotFoundError,
    RecordError,
    SettingsMismatchError,
    StoreRefusedError,
    StoreUnavailableError,
    UnsafeStoreError,
    UnsupportedStoreError,
    WaitTimeoutError,
    WrongRegionError,
)
from gha_queue._intake import NewJob
from gha_queue._named_files import Files
from gha_queue._probe import ProbeReport, probe
from gha_queue._queue import Queue
from gha_queue._records import (
    Control,
    Job,
    Json,
    Outcome,
    OutcomeKind,
    Settings,
    Status,
    WorkerSeen,
)
from gha_queue._requests import Prices, Requests
from gha_queue._rules import idle_pause
from gha_queue._runtime import Runtime
from gha_queue._s3 import S3Client, s3_client
from gha_queue._views import AttemptSeen, DeadLetter, History, JobSeen, State, Stats

__all__ = [
    "AccessDeniedError",
    "AttemptSeen",
    "BucketError",
    "Claim",
    "Control",
    "DeadLetter",
    "EndpointUnreachableError",
    "Files",
    "History",
    "InvalidFileError",
    "InvalidJobError",
    "InvalidQueueError",
    "InvalidResultError",
    "InvalidWorkerError",
    "Job",
    "JobNotDeadError",
    "JobNotFoundError",
    "JobPurgedError",
    "JobSeen",
    "Json",
    "LeaseLostError",
    "MissingBucketError",
    "NewJob",
    "Outcome",
    "OutcomeKind",
    "Prices",
    "ProbeReport",
    "PutManyError",
    "Queue",
    "QueueClosedError",
    "QueueError",
    "QueueNotFoundError",
    "RecordError",
    "Requests",
    "Runtime",
    "S3Client",
    "Settings",
    "SettingsMismatchError",
    "State",
    "Stats",
    "Status",
    "StoreRefusedError",
    "StoreUnavailableError",
    "UnsafeStoreError",
    "UnsupportedStoreError",
    "WaitTimeoutError",
    "WorkerSeen",
    "WrongRegionError",
    "idle_pause",
    "probe",
    "s3_client",
]
