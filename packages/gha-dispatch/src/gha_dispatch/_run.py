"""Workflow runs and jobs: a handle on a run, and GitHub's records of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from gha_dispatch._errors import (
    GitHubUnavailableError,
    RateLimitedError,
    RepositoryNotFoundError,
    RunFinishedError,
    RunNotFoundError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from gha_dispatch._gh import Answer, Json
    from gha_dispatch._requests import Requests

COMPLETED = "completed"
POLL = 2.0  # seconds between the first two looks at a run that is waited for
SLOWEST = 15.0  # and between the last ones
OUTAGE = 600.0  # seconds without any answer after which a wait gives up


@dataclass(frozen=True)
class WorkflowRunStatus:
    """A workflow run as GitHub saw it at one moment.

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
    """A job of a run: one element of a matrix, one VM. The words are those of the run."""

    id: int
    name: str
    status: str
    conclusion: str | None
    url: str


@dataclass(frozen=True)
class WorkflowRun:
    """A workflow run. `seen` is what a list said of it; None for a run that was just started.

    Every method that asks may raise RunNotFoundError.
    """

    id: int
    url: str
    requests: Requests = field(repr=False, compare=False)
    seen: WorkflowRunStatus | None = field(default=None, repr=False, compare=False)

    def status(self) -> WorkflowRunStatus:
        """How the run stands. One request."""
        return read_status(self._send("GET", "", "read the run").body)

    def jobs(self) -> list[WorkflowJob]:
        """The jobs of the run's latest attempt. One request per 100."""
        path = f"/actions/runs/{self.id}/jobs"
        try:
            found = self.requests.pages(path, "jobs", "read the jobs of the run")
        except RepositoryNotFoundError:
            raise RunNotFoundError(str(self.requests.repository), self.id) from None
        return [read_job(job) for job in found]

    def cancel(self) -> None:
        """Ask GitHub to cancel the run; its jobs end some seconds later. One request.

        Safe to repeat. Raises RunFinishedError: also when an answer was lost and the run has ended
        of this very cancel by the time it is repeated.
        """
        self._send("POST", "/cancel", "cancel the run")

    def wait(self, timeout: float | None = None) -> WorkflowRunStatus:
        """Wait for the run's end, whatever its conclusion, for at most `timeout` seconds.

        One request every 2 to 15 seconds. An outage of GitHub's or the network's is sat out for
        ten minutes, a rate limit for as long as it lasts. Raises WaitTimeoutError, late only when
        the last request gets no answer: then by the time limits of gh.
        """
        patience = self.requests.patience
        # a rate limit is waited for here, where the timeout is known
        hasty = replace(self.requests, patience=replace(patience, limits=0.0))
        run = replace(self, requests=hasty)
        began = answered = patience.clock()
        pause = POLL
        while True:
            try:
                status = run.status()
                answered = patience.clock()
                if status.status == COMPLETED:
                    return status
                nap = pause
            except RateLimitedError as error:
                nap = error.retry_after
                answered = patience.clock()
            except GitHubUnavailableError:
                if patience.clock() - answered > OUTAGE:
                    raise
                nap = SLOWEST
            if timeout is not None:
                left = began + timeout - patience.clock()
                if left <= 0:
                    raise WaitTimeoutError(str(self.requests.repository), self.id, timeout)
                nap = min(nap, left)
            patience.sleep(nap)
            pause = min(pause * 1.2, SLOWEST)

    def _send(self, method: str, path: str, action: str) -> Answer:
        requests = self.requests
        answer = requests.send(method, f"/actions/runs/{self.id}{path}", repeat=True)
        if answer.status == HTTPStatus.NOT_FOUND:
            raise RunNotFoundError(str(requests.repository), self.id)
        if answer.status == HTTPStatus.CONFLICT:
            raise RunFinishedError(str(requests.repository), self.id)
        return requests.confirmed(answer, action)


def read_status(body: Json) -> WorkflowRunStatus:
    """Read GitHub's record of a workflow run."""
    return WorkflowRunStatus(
        id=int(body["id"]),
        url=str(body["html_url"]),
        status=str(body["status"]),
        conclusion=body["conclusion"],
        title=str(body.get("display_title") or ""),
    )


def read_job(body: Json) -> WorkflowJob:
    """Read GitHub's record of a job."""
    return WorkflowJob(
        id=int(body["id"]),
        name=str(body["name"]),
        status=str(body["status"]),
        conclusion=body["conclusion"],
        url=str(body.get("html_url") or ""),
    )
