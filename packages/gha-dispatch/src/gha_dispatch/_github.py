"""One repository on GitHub: the client that ties its parts together."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from gha_dispatch._access import (
    Permissions,
    RepositoryView,
    are_enabled,
    read_login,
    read_permissions,
    read_view,
)
from gha_dispatch._errors import RefNotFoundError
from gha_dispatch._patience import Patience
from gha_dispatch._requests import Requests
from gha_dispatch._run import WorkflowJob, WorkflowRun, WorkflowRunStatus
from gha_dispatch._secrets import Secrets
from gha_dispatch._variables import Variables
from gha_dispatch._workflow import FOLDER, Workflow

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_dispatch._gh import Gh
    from gha_dispatch._repository import Repository

_NO_COMMIT = {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}


class GitHub:
    """A repository seen through `gh`. Holds no token; every method that asks says what it costs.

    `lookup` bounds, in seconds, how long a run is searched after a dispatch without a clear
    answer; `patience`, how long one request waits for rate limits in all. What may be done twice
    is sent again up to three times within the time limit of `gh` after a network error or a 5xx.
    Every method may raise NotAuthenticatedError, SingleSignOnError, PermissionDeniedError,
    RepositoryNotFoundError, RateLimitedError, NetworkError, GitHubUnavailableError,
    GhTooOldError and RequestRejectedError.
    """

    def __init__(
        self,
        gh: Gh,
        repository: Repository,
        *,
        lookup: float = 30.0,
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.gh = gh
        self.repository = repository
        self._patience = Patience(patience, gh.timeout, lookup, clock, sleep)
        self._requests = Requests(gh, repository, self._patience)

    def check_login(self) -> str:
        """The name of the account that gh is logged in with. One request.

        Empty for a token that belongs to no account, as GitHub Actions' own.
        """
        return read_login(self.gh, self.repository.host, self._patience).name

    def permissions(self) -> Permissions:
        """Who is logged in, and what the login may do in the repository. Two requests."""
        login = read_login(self.gh, self.repository.host, self._patience)
        return read_permissions(login, self._requests.read())

    def about(self) -> RepositoryView:
        """What GitHub says of the repository. One request."""
        return read_view(self._requests.read())

    def default_branch(self) -> str:
        """The name of the default branch. One request."""
        return self._requests.default_branch()

    def actions_enabled(self) -> bool | None:
        """Whether the repository runs workflows; None for a login that may not ask. One request.

        A new fork may answer True and run none until its owner has agreed to it on GitHub.
        """
        return are_enabled(self._requests)

    def resolve(self, ref: str) -> str:
        """The full SHA of the commit that a branch, a tag or a SHA names.

        One request, two when there is none. Raises RefNotFoundError.
        """
        answer = self._requests.send("GET", f"/commits/{quote(ref)}?per_page=1")
        if answer.status in _NO_COMMIT:
            self._requests.read()
            raise RefNotFoundError(str(self.repository), ref)
        return str(self._requests.confirmed(answer, "read the commits").body["sha"])

    def workflow(self, file: str) -> Workflow:
        """The workflow in `.github/workflows/<file>`, with or without that folder. No request.

        Raises ValueError for what cannot be a file there.
        """
        name = file.removeprefix(f"{FOLDER}/")
        if not name or "/" in name:
            raise ValueError(f"{file!r} is no file in {FOLDER}. Give its name, as in nightly.yml.")
        return Workflow(self._requests, name)

    def run(self, run_id: int) -> WorkflowRunStatus:
        """How a run stands. One request. Raises RunNotFoundError."""
        return self.find(run_id).status()

    def jobs(self, run_id: int) -> list[WorkflowJob]:
        """The jobs of a run's latest attempt. One request per 100. Raises RunNotFoundError."""
        return self.find(run_id).jobs()

    def cancel(self, run_id: int) -> None:
        """Ask GitHub to cancel a run; its jobs end some seconds later. One request.

        Raises RunNotFoundError, RunFinishedError.
        """
        self.find(run_id).cancel()

    def find(self, run_id: int) -> WorkflowRun:
        """The run with this id, whether there is one or not. No request."""
        url = f"{self.repository.url}/actions/runs/{run_id}"
        return WorkflowRun(run_id, url, self._requests)

    @property
    def secrets(self) -> Secrets:
        """The repository's Actions secrets. No request."""
        return Secrets(self._requests)

    @property
    def variables(self) -> Variables:
        """The repository's Actions variables. No request."""
        return Variables(self._requests)
