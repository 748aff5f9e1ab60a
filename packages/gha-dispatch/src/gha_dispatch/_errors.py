"""The errors of this package. Each message says what happened and ends with what to do next.

DispatchError
├── GhNotFoundError                no usable gh on this machine
├── GhTooOldError                  a gh that does not know what is asked of it
├── NotAuthenticatedError          gh holds no login that the host accepts
├── SingleSignOnError              the organization wants its single sign-on for the login
├── PermissionDeniedError          the login may not do this; says what it lacks, when known
├── NoRepositoryError              no repository given, none to be inferred
├── RepositoryNotFoundError        the host does not show this repository to this login
├── ActionsDisabledError           the repository runs no workflows
├── WorkflowNotFoundError          no such workflow on the default branch
├── WorkflowDisabledError          the workflow is switched off
├── WorkflowNotDispatchableError   the workflow has no workflow_dispatch
├── InputsRejectedError            unknown, missing or ill-formed inputs
├── RefNotFoundError               no such branch, tag or commit
├── RunNotFoundError               no such workflow run
├── RunFinishedError               the run is over and cannot be cancelled
├── WaitTimeoutError               the run did not end in the time it was given
├── RateLimitedError               too many requests; says until when
├── GitHubUnavailableError         GitHub is down: a 5xx
│   └── NetworkError               no answer at all
├── RequestRejectedError           any other refusal
└── UnclearDispatchError           a dispatch without an answer, and no run to be seen
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

DEFAULT_HOST = "github.com"


class DispatchError(Exception):
    """Base of every error that this package raises about gh or GitHub."""


class GhNotFoundError(DispatchError):
    """No usable `gh` was found."""


class GhTooOldError(DispatchError):
    """This `gh` does not know what was asked of it."""

    def __init__(self, path: str, version: str, oldest: str) -> None:
        super().__init__(
            f"{path} is gh {version}, which is too old: {oldest} is the oldest that works. "
            "Install a newer one from https://cli.github.com."
        )
        self.path = path
        self.version = version


class NotAuthenticatedError(DispatchError):
    """`gh` has no login for the host, or the host refused it.

    `variable` is the environment variable whose token gh uses instead of a stored login, if any.
    """

    def __init__(self, host: str, variable: str | None = None) -> None:
        login = f"`gh auth login --hostname {host}`"
        super().__init__(
            f"gh is not logged in to {host}. Run {login} and try again."
            if variable is None
            else f"{host} does not accept the token in the environment variable {variable}. "
            f"Renew the token, or unset {variable}, run {login} and try again."
        )
        self.host = host
        self.variable = variable


class SingleSignOnError(DispatchError):
    """The organization protects its repositories by single sign-on, and the login lacks it.

    `url` is the page that mends it, None when GitHub does not tell one.
    """

    def __init__(self, host: str, url: str | None) -> None:
        remedy = (
            f"Open {url} in a browser"
            if url
            else f"Run `gh auth refresh --hostname {host}` and grant it access to the organization"
        )
        super().__init__(
            f"The organization on {host} requires single sign-on for this login. "
            f"{remedy}, then try again."
        )
        self.host = host
        self.url = url


class PermissionDeniedError(DispatchError):
    """The login may not do what was asked.

    `missing` names the scopes or permissions of which one would do, such as ("repo",) or
    ("secrets=write",): what GitHub tells, so it may be empty.
    """

    def __init__(
        self, action: str, reason: str, remedy: str, missing: tuple[str, ...] = ()
    ) -> None:
        super().__init__(f"GitHub does not let this login {action}: {reason}. {remedy}")
        self.action = action
        self.reason = reason
        self.missing = missing


class NoRepositoryError(DispatchError):
    """No repository was given and none can be inferred."""


class RepositoryNotFoundError(DispatchError):
    """The repository does not exist under this name, or the login cannot see it."""

    def __init__(self, repository: str, *, moved: bool = False, remedy: str = "") -> None:
        host = repository.partition("/")[0]
        super().__init__(
            f"The repository {repository} was renamed or moved. "
            f"`gh repo view {repository}` shows its new name: use that."
            if moved
            else f"The repository {repository} does not exist or this login cannot see it. Check "
            f"its name, and with `gh auth status --hostname {host}` which account is logged in."
            + remedy
        )
        self.repository = repository
        self.is_moved = moved


class ActionsDisabledError(DispatchError):
    """The repository runs no workflows: switched off, or a fork whose owner has not agreed yet."""

    def __init__(self, repository: str, *, fork: bool = False) -> None:
        page = f"https://{repository}"
        super().__init__(
            f"GitHub Actions is not enabled for {repository}, as for every new fork. "
            f"Enable it on {page}/actions and try again."
            if fork
            else f"GitHub Actions is disabled for {repository}. "
            f"Allow it on {page}/settings/actions and try again."
        )
        self.repository = repository
        self.is_fork = fork


class WorkflowNotFoundError(DispatchError):
    """The workflow file is not on the default branch, or GitHub does not know it as a workflow."""

    def __init__(self, repository: str, workflow: str, *, unread: bool = False) -> None:
        super().__init__(
            f"{repository} has .github/workflows/{workflow} on its default branch, but GitHub "
            "does not know it as a workflow. Wait a few seconds if it was pushed just now, else "
            f"look on https://{repository}/actions why."
            if unread
            else f"{repository} has no workflow {workflow} on its default branch. "
            f"Commit .github/workflows/{workflow} there and push it."
        )
        self.repository = repository
        self.workflow = workflow


class WorkflowDisabledError(DispatchError):
    """The workflow exists and is switched off."""

    def __init__(self, repository: str, workflow: str) -> None:
        super().__init__(
            f"The workflow {workflow} of {repository} is disabled. "
            f"Run `gh workflow enable {workflow} --repo {repository}` and try again."
        )
        self.repository = repository
        self.workflow = workflow


class WorkflowNotDispatchableError(DispatchError):
    """The workflow exists and cannot be started by a dispatch."""

    def __init__(self, repository: str, workflow: str, reason: str) -> None:
        super().__init__(
            f"{repository} cannot start {workflow}: {reason}. Give the workflow an "
            "`on: workflow_dispatch`, on the default branch and on the ref that is to run."
        )
        self.repository = repository
        self.workflow = workflow
        self.reason = reason


class InputsRejectedError(DispatchError):
    """GitHub refused the inputs of a dispatch; nothing was started."""

    def __init__(self, workflow: str, reason: str) -> None:
        super().__init__(
            f"GitHub refused the inputs of {workflow}: {reason}. "
            "Compare them with the inputs that the workflow file declares on the ref that is to run."
        )
        self.workflow = workflow
        self.reason = reason


class RefNotFoundError(DispatchError):
    """The branch, tag or commit does not exist."""

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


class WaitTimeoutError(DispatchError):
    """The run had not ended when the time to wait was over. It goes on."""

    def __init__(self, repository: str, run_id: int, timeout: float) -> None:
        super().__init__(
            f"The workflow run {run_id} of {repository} has not ended within {timeout:g} s and "
            "goes on. Wait longer, or cancel it."
        )
        self.repository = repository
        self.run_id = run_id
        self.timeout = timeout


class RateLimitedError(DispatchError):
    """GitHub asks to wait longer than the client's patience; nothing was done.

    `retry_after` is in seconds, `until` the same as an aware time by GitHub's clock.
    """

    def __init__(self, retry_after: float, until: datetime) -> None:
        super().__init__(
            f"GitHub limits the rate of this login until {until:%Y-%m-%d %H:%M:%S %Z}. "
            f"Wait {retry_after:.0f} s and try again."
        )
        self.retry_after = retry_after
        self.until = until


class GitHubUnavailableError(DispatchError):
    """GitHub is down: a 5xx. `status` is None without an answer, see NetworkError."""

    def __init__(self, host: str, reason: str, status: int | None = None) -> None:
        where = (
            "Look at https://www.githubstatus.com"
            if host == DEFAULT_HOST
            else f"Ask who runs {host}"
        )
        super().__init__(f"{host} is in trouble ({reason}). {where}, then try again.")
        self.host = host
        self.reason = reason
        self.status = status


class NetworkError(GitHubUnavailableError):
    """No answer: no connection, a broken one, or none within the time limit."""

    def __init__(self, host: str, reason: str) -> None:
        DispatchError.__init__(
            self,
            f"No answer from {host} ({reason}). Check the network and its proxy settings, "
            "then try again.",
        )
        self.host = host
        self.reason = reason
        self.status = None


class RequestRejectedError(DispatchError):
    """GitHub refused a request for a reason that no other error names."""

    def __init__(self, action: str, status: int, reason: str) -> None:
        super().__init__(
            f"GitHub refused to {action} with status {status}: {reason}. Correct the request; "
            "`gh api` shows the whole answer."
        )
        self.action = action
        self.status = status
        self.reason = reason


class UnclearDispatchError(DispatchError):
    """A dispatch got no clear answer, and no run with its marker was to be seen.

    A run may still appear later: nothing was confirmed, in either direction. `marker` is None
    when the dispatch had none to look for.
    """

    def __init__(self, repository: str, workflow: str, marker: str | None, reason: str) -> None:
        looked = (
            "it had no marker to look for"
            if marker is None
            else f"no run with {marker!r} in its title was found"
        )
        super().__init__(
            f"Whether {workflow} was started in {repository} is not confirmed: the dispatch got "
            f"no clear answer ({reason}), and {looked}. "
            f"Look for it with `gh run list --repo {repository} --workflow {workflow}` before "
            "starting another."
        )
        self.repository = repository
        self.workflow = workflow
        self.marker = marker
        self.reason = reason
