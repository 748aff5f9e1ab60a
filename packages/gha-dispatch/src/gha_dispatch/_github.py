"""One repository on GitHub: the client that ties its parts together."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from gha_dispatch._errors import RepositoryNotFoundError, RunFinishedError, RunNotFoundError
from gha_dispatch._refusals import refusal
from gha_dispatch._requests import Requests
from gha_dispatch._run import WorkflowJob, WorkflowRunStatus, read_job, read_status
from gha_dispatch._secrets import Secrets
from gha_dispatch._workflow import Patience, Workflow

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_dispatch._gh import Answer, Gh
    from gha_dispatch._repository import Repository


class GitHub:
    """A repository seen through `gh`. Holds no token; every method that asks says what it costs.

    `lookup` bounds, in seconds, how long a run is searched after a dispatch without a clear
    answer. Every method may raise NotAuthenticatedError, PermissionDeniedError, RateLimitedError,
    GitHubUnavailableError and RequestRejectedError.
    """

    def __init__(
        self,
        gh: Gh,
        repository: Repository,
        *,
        lookup: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.gh = gh
        self.repository = repository
        self._requests = Requests(gh, repository)
        self._patience = Patience(lookup, clock, sleep)

    def check_login(self) -> str:
        """The name of the account that gh is logged in with. One request."""
        answer = self.gh.api(self.repository.host, "GET", "user")
        if not answer.is_success:
            raise refusal(answer, host=self.repository.host, action="read its own account")
        return str(answer.body["login"])

    def default_branch(self) -> str:
        """The name of the default branch. One request. Raises RepositoryNotFoundError."""
        return self._requests.default_branch()

    def workflow(self, file: str) -> Workflow:
        """The workflow in `.github/workflows/<file>`. No request."""
        return Workflow(self._requests, file, self._patience)

    def run(self, run_id: int) -> WorkflowRunStatus:
        """How a run stands. One request. Raises RunNotFoundError."""
        return read_status(self._of_run(run_id, "GET", "", "read the run").body)

    def jobs(self, run_id: int) -> list[WorkflowJob]:
        """The jobs of a run's latest attempt. One request per 100. Raises RunNotFoundError."""
        path = f"/actions/runs/{run_id}/jobs"
        try:
            found = self._requests.pages(path, "jobs", "read the jobs of the run")
        except RepositoryNotFoundError:
            raise RunNotFoundError(str(self.repository), run_id) from None
        return [read_job(job) for job in found]

    def cancel(self, run_id: int) -> None:
        """Ask GitHub to cancel a run; its jobs end some seconds later. One request.

        Raises RunNotFoundError, RunFinishedError.
        """
        self._of_run(run_id, "POST", "/cancel", "cancel the run")

    @property
    def secrets(self) -> Secrets:
        """The repository's Actions secrets. No request."""
        return Secrets(self._requests)

    def _of_run(self, run_id: int, method: str, path: str, action: str) -> Answer:
        answer = self._requests.send(method, f"/actions/runs/{run_id}{path}")
        if answer.status == HTTPStatus.NOT_FOUND:
            raise RunNotFoundError(str(self.repository), run_id)
        if answer.status == HTTPStatus.CONFLICT:
            raise RunFinishedError(str(self.repository), run_id)
        return self._requests.confirmed(answer, action)
