"""Runs command jobs from a gha-queue on any machine, and leaves when the work is done."""

from __future__ import annotations

from gha_worker._errors import (
    IdentityError,
    IdTokenError,
    IdTokenPermissionError,
    InvalidJobError,
    InvalidResultError,
    MachineError,
    RefusedSecretError,
    RoleRefusedError,
    UnsupportedVersionError,
    WorkerError,
)
from gha_worker._job import CommandJob, OnStop, Prepare, Resources, Server
from gha_worker._job_log import follow
from gha_worker._record import JobRecord
from gha_worker._result import CommandResult, Reason
from gha_worker._submit import submit
from gha_worker._timeline import read_timeline

__all__ = [
    "CommandJob",
    "CommandResult",
    "IdTokenError",
    "IdTokenPermissionError",
    "IdentityError",
    "InvalidJobError",
    "InvalidResultError",
    "JobRecord",
    "MachineError",
    "OnStop",
    "Prepare",
    "Reason",
    "RefusedSecretError",
    "Resources",
    "RoleRefusedError",
    "Server",
    "UnsupportedVersionError",
    "WorkerError",
    "follow",
    "read_timeline",
    "submit",
]
