"""The errors of this package. Each message ends with what to do next.

DispatchError
├── GhNotFoundError            no usable gh on this machine
├── NotAuthenticatedError      gh holds no login that the host accepts
├── NoRepositoryError          no repository given, none to be inferred
├── RepositoryNotFoundError    the host does not show this repository to this login
├── WorkflowNotFoundError      no such workflow on the default branch
├── WorkflowNotDispatchableError   the workflow has no workflow_dispatch, or is disabled
├── InputsRejectedError        unknown, missing or ill-formed inputs
├── RefNotFoundError           no such branch or tag
├── RunNotFoundError           no such workflow run
├── RunFinishedError           the run is over and cannot be cancelled
├── PermissionDeniedError      the login may not do this
├── RateLimitedError           too many requests; says how long to wait, when known
├── GitHubUnavailableError     no answer, or a 5xx
├── RequestRejectedError       any other refusal
└── UnclearDispatchError       a dispatch without an answer, and no run to be seen
"""

from __future__ import annotations


class DispatchError(Exception):
    """Base of every error that this package raises about gh or GitHub."""


class GhNotFoundError(DispatchError):
    """No usable `gh` was found."""


class NotAuthenticatedError(DispatchError):
    """`gh` has no login for the host, or the host refused it."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"gh is not logged in to {host}. Run `gh auth login --hostname {host}` and try again."
        )
        self.host = host


class NoRepositoryError(DispatchError):
    """No repository was given and none can be inferred."""


class RepositoryNotFoundError(DispatchError):
    """The repository does not exist, or the login cannot see it."""

    def __init__(self, repository: str) -> None:
        super().__init__(
            f"The repository {repository} does not exist or this login cannot see it. "
            "Check its name, and with `gh auth status` which account is logged in."
        )
        self.repository = repository


class WorkflowNotFoundError(DispatchError):
    """The workflow file is not on the default branch."""

    def __init__(self, repository: str, workflow: str) -> None:
        super().__init__(
            f"{repository} has no workflow {workflow} on its default branch. "
            f"Commit .github/workflows/{workflow} there and push it."
        )
        self.repository = repository
        self.workflow = workflow


class WorkflowNotDispatchableError(DispatchError):
    """The workflow exists, and GitHub refuses to start it by a dispatch."""

    def __init__(self, repository: str, workflow: str, reason: str) -> None:
        super().__init__(
            f"{repository} cannot start {workflow}: {reason}. Give the workflow an "
            f"`on: workflow_dispatch`, or enable it with `gh workflow enable {workflow}`."
        )
        self.repository = repository
        self.workflow = workflow
        self.reason = reason


class InputsRejectedError(DispatchError):
    """GitHub refused the inputs of a dispatch; nothing was started."""

    def __init__(self, workflow: str, reason: str) -> None:
        super().__init__(
            f"GitHub refused the inputs of {workflow}: {reason}. "
            "Compare them with the inputs that the workflow file declares on the default branch."
        )
        self.workflow = workflow
        self.reason = reason


class RefNotFoundError(DispatchError):
    """The branch or tag to run does not exist."""

    def __init__(self, repository: str, ref: str) -> None:
        super().__init__(
            f"{repository} has no branch or tag {ref}. Push it, or leave the ref out to use the "
            "default branch."
        )
        self.repository = repository
        self.ref = ref


class RunNotFoundError(DispatchError):
    """The repository has no such workflow run."""

    def __init__(self, repository: str, run_id: int) -> None:
        super().__init__(
            f"{repository} has no workflow run {run_id}. "
            f"`gh run list --repo {repository}` shows those it has."
        )
        self.repository = repository
        self.run_id = run_id


class RunFinishedError(DispatchError):
    """The run is over: there is nothing to cancel."""

    def __init__(self, repository: str, run_id: int) -> None:
        super().__init__(
            f"The workflow run {run_id} of {repository} is over; there is nothing to cancel."
        )
        self.repository = repository
        self.run_id = run_id


class PermissionDeniedError(DispatchError):
    """The login may not do what was asked."""

    def __init__(self, host: str, action: str, reason: str) -> None:
        super().__init__(
            f"GitHub does not let this login {action}: {reason}. Use an account with write access "
            f"to the repository, or run `gh auth refresh --hostname {host} --scopes repo,workflow`."
        )
        self.host = host
        self.action = action
        self.reason = reason


class RateLimitedError(DispatchError):
    """GitHub asks to wait. `retry_after` is in seconds, None when GitHub does not say."""

    def __init__(self, retry_after: float | None) -> None:
        wait = "a minute or more" if retry_after is None else f"{retry_after:.0f} s"
        super().__init__(f"GitHub limits the rate of this login. Wait {wait} and try again.")
        self.retry_after = retry_after


class GitHubUnavailableError(DispatchError):
    """No answer in time, a broken connection, or a 5xx. `status` is None without an answer."""

    def __init__(self, host: str, reason: str, status: int | None = None) -> None:
        super().__init__(
            f"{host} gave no usable answer ({reason}). Check the network, and "
            "https://www.githubstatus.com for github.com, then try again."
        )
        self.host = host
        self.reason = reason
        self.status = status


class RequestRejectedError(DispatchError):
    """GitHub refused a request for a reason that no other error names."""

    def __init__(self, action: str, status: int | None, reason: str) -> None:
        super().__init__(
            f"GitHub refused to {action}"
            + (f" with status {status}" if status is not None else "")
            + f": {reason}. Correct the request; `gh api` shows the whole answer."
        )
        self.action = action
        self.status = status
        self.reason = reason


class UnclearDispatchError(DispatchError):
    """A dispatch got no clear answer, and no run with its marker was to be seen.

    A run may still appear later: nothing was confirmed, in either direction.
    """

    def __init__(self, repository: str, workflow: str, marker: str, reason: str) -> None:
        super().__init__(
            f"Whether {workflow} was started in {repository} is not confirmed: the dispatch got "
            f"no clear answer ({reason}), and no run with {marker!r} in its title was found. "
            f"Look for it with `gh run list --repo {repository} --workflow {workflow}` before "
            "starting another."
        )
        self.repository = repository
        self.workflow = workflow
        self.marker = marker
        self.reason = reason
