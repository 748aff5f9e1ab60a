"""Runs command jobs from a gha-queue on any machine, and leaves when the work is done.

Its rooms, in the order in which a job comes through them:

_jobs           what a job says, and what is told of it
_command_line   the commands that put jobs and that start a worker
_worker         claims what fits, sees each job to its settled end, leaves
_machine        what jobs share: cores, memory, what is prepared, what they may see
_guard          runs a script below a process that ends it in time, with all it started
_telling        the log, the summary, the timeline, the logs of jobs
"""

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
from gha_worker._jobs.command_job import CommandJob, OnStop, Prepare, Resources, Server
from gha_worker._jobs.record import JobRecord
from gha_worker._jobs.result import CommandResult, Reason
from gha_worker._jobs.submission import submit
from gha_worker._telling.job_log import follow
from gha_worker._telling.timeline import read_timeline

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
