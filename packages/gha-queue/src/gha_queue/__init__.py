"""A job queue in an S3 bucket: at least once delivery, exactly one outcome per attempt."""

from __future__ import annotations

from gha_queue._calls import Requests
from gha_queue._claim import Claim
from gha_queue._errors import (
    AccessDeniedError,
    BucketError,
    EndpointUnreachableError,
    InvalidJobError,
    InvalidQueueError,
    InvalidResultError,
    InvalidWorkerError,
    JobNotFoundError,
    LeaseLostError,
    MissingBucketError,
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
from gha_queue._probe import ProbeReport, probe
from gha_queue._queue import Queue
from gha_queue._records import (
    Control,
    Job,
    Json,
    Outcome,
    OutcomeKind,
    Settings,
    Stats,
    Status,
    WorkerSeen,
)
from gha_queue._runtime import Runtime
from gha_queue._s3 import S3Client, s3_client

__all__ = [
    "AccessDeniedError",
    "BucketError",
    "Claim",
    "Control",
    "EndpointUnreachableError",
    "InvalidJobError",
    "InvalidQueueError",
    "InvalidResultError",
    "InvalidWorkerError",
    "Job",
    "JobNotFoundError",
    "Json",
    "LeaseLostError",
    "MissingBucketError",
    "Outcome",
    "OutcomeKind",
    "ProbeReport",
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
    "Stats",
    "Status",
    "StoreRefusedError",
    "StoreUnavailableError",
    "UnsafeStoreError",
    "UnsupportedStoreError",
    "WaitTimeoutError",
    "WorkerSeen",
    "WrongRegionError",
    "probe",
    "s3_client",
]
