"""What can go wrong before a job runs.

WorkerError
├── InvalidJobError            a payload that is no command job
│   ├── UnsupportedVersionError    it is one, of another format version
│   └── RefusedSecretError         it names a secret that no job may have
├── InvalidResultError         a value that is no command result
├── IdentityError              this worker cannot act as its AWS role
│   ├── IdTokenPermissionError     its workflow run may not ask GitHub for an id token
│   ├── IdTokenError               GitHub gave it none
│   └── RoleRefusedError           AWS does not let the workflow run assume the role
└── MachineError               this machine cannot run jobs (disk full, no rights, no processes)

A job that fails is no error of the worker: see :class:`gha_worker.CommandResult`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class WorkerError(Exception):
    """Base of every error of this package."""


class InvalidJobError(WorkerError):
    """A payload that is no command job; `field` names the part that is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"The job's {field} {problem}. Put the job again with a valid {field}.")
        self.field = field
        self.problem = problem


class UnsupportedVersionError(InvalidJobError):
    """A payload of a format that this worker does not read."""

    def __init__(self, found: object, supported: Sequence[int]) -> None:
        known = " and ".join(str(version) for version in supported)
        WorkerError.__init__(
            self,
            f"The job has format version {found!r} and this worker reads version {known}. "
            "Install the same version of gha-worker on both sides.",
        )
        self.field = "v"
        self.problem = "is of another version"
        self.found = found
        self.supported = tuple(supported)


class RefusedSecretError(InvalidJobError):
    """A job asked for a credential of the workflow run itself; `name` is its variable."""

    def __init__(self, name: str) -> None:
        WorkerError.__init__(
            self,
            f"The job names the secret {name}, which belongs to the workflow run and is given to "
            "no job. Store what the job needs as a secret of another name.",
        )
        self.field = "secrets"
        self.problem = "name a credential of the workflow run"
        self.name = name


class InvalidResultError(WorkerError):
    """A value that was not written by :meth:`gha_worker.CommandResult.to_json`."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"The value is no result of a command job: {problem}. "
            "Look at the outcome's kind: only a worker writes such results."
        )
        self.problem = problem


class MachineError(WorkerError):
    """The machine cannot run jobs below `path`; the worker gives its job back and leaves."""

    def __init__(self, path: str, cause: OSError) -> None:
        super().__init__(
            f"This machine cannot run jobs in {path} ({cause.strerror or cause}). "
            "Free some disk space and memory, or choose another --work-dir."
        )
        self.path = path


class IdentityError(WorkerError):
    """The worker cannot act as the role in AWS_ROLE_ARN."""


class IdTokenPermissionError(IdentityError):
    """The workflow run has no permission to ask GitHub for an id token."""

    def __init__(self, role: str) -> None:
        super().__init__(
            f"AWS_ROLE_ARN names {role}, but this workflow run may not ask GitHub for an id token. "
            "Let `permissions` of the workflow that calls the worker hold `id-token: write`, as "
            "`gha inject --oidc-role` writes it."
        )
        self.role = role


class IdTokenError(IdentityError):
    """GitHub gave no id token for `reason`; `status` is that of its answer, if there was one."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(
            f"GitHub gave no id token ({reason}). Start the workflow again, and look at "
            "https://www.githubstatus.com if it stays so."
        )
        self.reason = reason
        self.status = status

    @property
    def refused(self) -> bool:
        """Whether GitHub understood and said no, which asking again at once does not change."""
        return self.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


class RoleRefusedError(IdentityError):
    """AWS refused the role to this workflow run."""

    def __init__(self, role: str, subject: str, issuer: str, audience: str, said: str) -> None:
        super().__init__(
            f"AWS does not let this workflow run assume {role} ({said}). Its trust policy must "
            f"allow the sub {subject} with the aud {audience}, and {issuer} must be an identity "
            "provider of the role's account."
        )
        self.role = role
        self.subject = subject
        self.audience = audience
