"""Start GitHub workflows and set secrets through the user's own `gh`."""

from gha_dispatch._errors import (
    DispatchError,
    GhNotFoundError,
    GitHubUnavailableError,
    InputsRejectedError,
    NoRepositoryError,
    NotAuthenticatedError,
    PermissionDeniedError,
    RateLimitedError,
    RefNotFoundError,
    RepositoryNotFoundError,
    RequestRejectedError,
    RunFinishedError,
    RunNotFoundError,
    UnclearDispatchError,
    WorkflowNotDispatchableError,
    WorkflowNotFoundError,
)
from gha_dispatch._gh import Gh, find_gh
from gha_dispatch._github import GitHub
from gha_dispatch._repository import Repository
from gha_dispatch._run import WorkflowJob, WorkflowRun, WorkflowRunStatus
from gha_dispatch._secrets import Secrets
from gha_dispatch._workflow import Workflow

__all__ = [
    "DispatchError",
    "Gh",
    "GhNotFoundError",
    "GitHub",
    "GitHubUnavailableError",
    "InputsRejectedError",
    "NoRepositoryError",
    "NotAuthenticatedError",
    "PermissionDeniedError",
    "RateLimitedError",
    "RefNotFoundError",
    "Repository",
    "RepositoryNotFoundError",
    "RequestRejectedError",
    "RunFinishedError",
    "RunNotFoundError",
    "Secrets",
    "UnclearDispatchError",
    "Workflow",
    "WorkflowJob",
    "WorkflowNotDispatchableError",
    "WorkflowNotFoundError",
    "WorkflowRun",
    "WorkflowRunStatus",
    "find_gh",
]
