"""One repository on GitHub: its workflows, runs and secrets."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from gha_dispatch._errors import (
    GitHubUnavailableError,
    RefNotFoundError,
    RepositoryNotFoundError,
    RunFinishedError,
    RunNotFoundError,
    UnclearDispatchError,
    WorkflowNotFoundError,
)
from gha_dispatch._refusals import refusal
from gha_dispatch._secrets import Secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gha_dispatch._gh import Answer, Gh, Json
    from gha_dispatch._repository import Repository

OK = range(200, 300)
NOT_FOUND = 404
CONFLICT = 409
UNPROCESSABLE = 422


@dataclass(frozen=True)
class WorkflowRun:
    """A workflow run that was started."""

    id: int
    url: str


@dataclass(frozen=True)
class WorkflowRunStatus:
    """A workflow run as GitHub sees it now.

    `status` is queued, in_progress, completed, ... and `conclusion` is None until completed, then
    success, failure, cancelled, startup_failure, ...: GitHub's own words, open-ended.
    """

    id: int
    url: str
    status: str
    conclusion: str | None
    title: str


@dataclass(frozen=True)
class WorkflowJob:
    """A job of a run: one element of a matrix, one VM."""

    id: int
    name: str
    status: str
    conclusion: str | None
    url: str


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
        self.lookup = lookup
        self.clock = clock
        self.sleep = sleep

    def check_login(self) -> str:
        """The name of the account that gh is logged in with. One request."""
        answer = self.gh.api(self.repository.host, "GET", "user")
        return str(self._confirmed(answer, "read its own account").body["login"])

    def default_branch(self) -> str:
        """The name of the default branch. One request. Raises RepositoryNotFoundError."""
        answer = self._ask("GET", "")
        if answer.status == NOT_FOUND:
            raise RepositoryNotFoundError(str(self.repository))
        return str(self._confirmed(answer, "read the repository").body["default_branch"])

    def workflow(self, file: str) -> Workflow:
        """The workflow in `.github/workflows/<file>`. No request."""
        return Workflow(self, file)

    def run(self, run_id: int) -> WorkflowRunStatus:
        """How a run stands. One request. Raises RunNotFoundError."""
        return read_run(self._of_run(run_id, "GET", "", "read the run").body)

    def jobs(self, run_id: int) -> list[WorkflowJob]:
        """The jobs of a run's latest attempt. One request per 100. Raises RunNotFoundError."""
        jobs: list[WorkflowJob] = []
        while True:
            page = len(jobs) // 100 + 1
            answer = self._of_run(
                run_id, "GET", f"/jobs?per_page=100&page={page}", "read the jobs of the run"
            )
            found = [_read_job(job) for job in answer.body["jobs"]]
            jobs += found
            if len(found) < 100:  # noqa: PLR2004
                return jobs

    def cancel(self, run_id: int) -> None:
        """Ask GitHub to cancel a run; its jobs end some seconds later. One request.

        Raises RunNotFoundError, RunFinishedError.
        """
        self._of_run(run_id, "POST", "/cancel", "cancel the run")

    @property
    def secrets(self) -> Secrets:
        """The repository's Actions secrets. No request."""
        return Secrets(self.gh, self.repository)

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Answer:
        repository = self.repository
        endpoint = f"repos/{repository.owner}/{repository.name}{path}"
        return self.gh.api(repository.host, method, endpoint, body)

    def _confirmed(self, answer: Answer, action: str) -> Answer:
        if answer.status in OK:
            return answer
        raise refusal(answer, host=self.repository.host, action=action)

    def _of_run(self, run_id: int, method: str, path: str, action: str) -> Answer:
        answer = self._ask(method, f"/actions/runs/{run_id}{path}")
        if answer.status == NOT_FOUND:
            raise RunNotFoundError(str(self.repository), run_id)
        if answer.status == CONFLICT:
            raise RunFinishedError(str(self.repository), run_id)
        return self._confirmed(answer, action)


class Workflow:
    """A workflow file of the repository."""

    def __init__(self, github: GitHub, file: str) -> None:
        self.github = github
        self.file = file

    def exists(self) -> bool:
        """Whether GitHub knows the workflow. One request, two when it does not.

        Raises RepositoryNotFoundError rather than False when the repository is not to be seen.
        """
        answer = self.github._ask("GET", self._path())  # noqa: SLF001
        if answer.status != NOT_FOUND:
            self.github._confirmed(answer, "read the workflow")  # noqa: SLF001
            return True
        self.github.default_branch()
        return False

    def require(self) -> None:
        """Raise WorkflowNotFoundError unless the workflow exists. Costs what `exists` does."""
        if not self.exists():
            raise WorkflowNotFoundError(str(self.github.repository), self.file)

    def dispatch(self, inputs: Mapping[str, str], ref: str | None, marker: str) -> WorkflowRun:
        """Start one run and tell which one it is.

        `ref` is a branch or tag, None the default branch. `marker` is a text that the workflow's
        `run-name` shows for these inputs and no other dispatch has. One request, one more without
        a ref. The dispatch is never sent twice: after an unclear answer (none in time, a 5xx) and
        after one without details the run is looked up by its marker, one request every two
        seconds within the client's `lookup`.

        Raises WorkflowNotFoundError, WorkflowNotDispatchableError, InputsRejectedError,
        RefNotFoundError, RepositoryNotFoundError: nothing was started. UnclearDispatchError:
        nothing was confirmed. Not promised: that the run has begun, or ever will.
        https://docs.github.com/en/rest/actions/workflows#create-a-workflow-dispatch-event
        """
        if not marker:
            raise ValueError("A dispatch needs a marker: a text that only its run's title has.")
        github = self.github
        chosen = ref if ref is not None else github.default_branch()
        body = {"ref": chosen, "inputs": dict(inputs), "return_run_details": True}
        try:
            answer = github._ask("POST", f"{self._path()}/dispatches", body)  # noqa: SLF001
            if answer.status not in OK:
                raise self._refused(answer, chosen)
        except GitHubUnavailableError as error:
            return self._look_up(marker, error.reason)
        run = _read_details(answer.body)
        return run if run is not None else self._look_up(marker, "the answer named no run")

    def _look_up(self, marker: str, reason: str) -> WorkflowRun:
        github = self.github
        deadline = github.clock() + github.lookup
        path = f"{self._path()}/runs?event=workflow_dispatch&per_page=50"
        while True:
            try:
                answer = github._ask("GET", path)  # noqa: SLF001
                found = github._confirmed(answer, "list the runs").body  # noqa: SLF001
            except GitHubUnavailableError:
                found = {"workflow_runs": []}
            for run in map(read_run, found["workflow_runs"]):
                if marker in run.title:
                    return WorkflowRun(run.id, run.url)
            if github.clock() >= deadline:
                raise UnclearDispatchError(str(github.repository), self.file, marker, reason)
            github.sleep(2.0)

    def _refused(self, answer: Answer, ref: str) -> Exception:
        github = self.github
        repository = str(github.repository)
        if answer.status == NOT_FOUND:
            github.default_branch()
            return WorkflowNotFoundError(repository, self.file)
        if answer.status == UNPROCESSABLE and re.search(r"No ref found", answer.message):
            return RefNotFoundError(repository, ref)
        return refusal(
            answer,
            host=github.repository.host,
            action=f"dispatch {self.file}",
            dispatch=(repository, self.file),
        )

    def _path(self) -> str:
        return f"/actions/workflows/{quote(self.file, safe='')}"


def read_run(body: Json) -> WorkflowRunStatus:
    """Read GitHub's record of a workflow run."""
    return WorkflowRunStatus(
        id=int(body["id"]),
        url=str(body["html_url"]),
        status=str(body["status"]),
        conclusion=body["conclusion"],
        title=str(body.get("display_title") or ""),
    )


def _read_job(body: Json) -> WorkflowJob:
    return WorkflowJob(
        id=int(body["id"]),
        name=str(body["name"]),
        status=str(body["status"]),
        conclusion=body["conclusion"],
        url=str(body.get("html_url") or ""),
    )


def _read_details(body: Json) -> WorkflowRun | None:
    if not isinstance(body, dict) or "workflow_run_id" not in body:
        return None
    return WorkflowRun(int(body["workflow_run_id"]), str(body["html_url"]))
