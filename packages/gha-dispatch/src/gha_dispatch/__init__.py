"""Start GitHub workflows and set secrets and variables through the user's own `gh`."""

from gha_dispatch._access import Permissions, RepositoryView
from gha_dispatch._errors import (
    ActionsDisabledError,
    DispatchError,
    GhNotFoundError,
    GhTooOldError,
    GitHubUnavailableError,
    InputsRejectedError,
    NetworkError,
    NoRepositoryError,
    NotAuthenticatedError,
    PermissionDeniedError,
    RateLimitedError,
    RefNotFoundError,
    RepositoryNotFoundError,
    RequestRejectedError,
    RunFinishedError,
    RunNotFoundError,
    SingleSignOnError,
    UnclearDispatchError,
    WaitTimeoutError,
    WorkflowDisabledError,
    WorkflowNotDispatchableError,
    WorkflowNotFoundError,
)
from gha_dispatch._gh import Gh, find_gh
from gha_dispatch._github import GitHub
from gha_dispatch._repository import Repository
from gha_dispatch._run import WorkflowJob, WorkflowRun, WorkflowRunStatus
from gha_dispatch._secrets import Secrets
from gha_dispatch._variables import Variables
from gha_dispatch._workflow import Workflow

__all__ = [
    "ActionsDisabledError",
    "DispatchError",
    "Gh",
    "GhNotFoundError",
    "GhTooOldError",
    "GitHub",
    "GitHubUnavailableError",
    "InputsRejectedError",
    "NetworkError",
    "NoRepositoryError",
    "NotAuthenticatedError",
    "PermissionDeniedError",
    "Permissions",
    "RateLimitedError",
    "RefNotFoundError",
    "Repository",
    "RepositoryNotFoundError",
    "RepositoryView",
    "RequestRejectedError",
    "RunFinishedError",
    "RunNotFoundError",
    "Secrets",
    "SingleSignOnError",
    "UnclearDispatchError",
    "Variables",
    "WaitTimeoutError",
    "Workflow",
    "WorkflowDisabledError",
    "WorkflowJob",
    "WorkflowNotDispatchableError",
    "WorkflowNotFoundError",
    "WorkflowRun",
    "WorkflowRunStatus",
    "find_gh",
]
