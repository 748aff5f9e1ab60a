"""A workflow of the repository: whether it exists, and starting it once."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from gha_dispatch._errors import (
    DispatchError,
    GitHubUnavailableError,
    RefNotFoundError,
    UnclearDispatchError,
    WorkflowNotFoundError,
)
from gha_dispatch._refusals import refusal
from gha_dispatch._run import WorkflowRun, read_details, read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gha_dispatch._gh import Answer
    from gha_dispatch._requests import Requests

PAUSE = 2.0  # seconds between two looks for a run
NEWEST = 50  # runs that one look sees


@dataclass(frozen=True)
class Patience:
    """How long a run is looked for, in seconds, and by which clock."""

    lookup: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]


@dataclass(frozen=True)
class Workflow:
    """The workflow in `.github/workflows/<file>` of the repository."""

    requests: Requests = field(repr=False)
    file: str
    patience: Patience = field(repr=False)

    def exists(self) -> bool:
        """Whether GitHub knows the workflow. One request, two when it does not.

        Raises RepositoryNotFoundError rather than False when the repository is not to be seen.
        """
        answer = self.requests.send("GET", self._path())
        if answer.status == HTTPStatus.NOT_FOUND:
            self.requests.default_branch()
            return False
        self.requests.confirmed(answer, "read the workflow")
        return True

    def require(self) -> None:
        """Raise WorkflowNotFoundError unless the workflow exists. Costs what `exists` does."""
        if not self.exists():
            raise WorkflowNotFoundError(str(self.requests.repository), self.file)

    def dispatch(self, inputs: Mapping[str, str], ref: str | None, marker: str) -> WorkflowRun:
        """Start one run and tell which one it is.

        `ref` is a branch or tag, None the default branch. `marker` is a text that the workflow's
        `run-name` shows for these inputs and that no other run has in its title. One request, one
        more without a ref. The dispatch is never sent twice: after an unclear answer (none in
        time, a 5xx) and after one without details the run is looked up by its marker, one request
        every two seconds within the client's `lookup`.

        Raises WorkflowNotFoundError, WorkflowNotDispatchableError, InputsRejectedError,
        RefNotFoundError, RepositoryNotFoundError: nothing was started. UnclearDispatchError:
        nothing was confirmed. Not promised: that the run has begun, or ever will.
        https://docs.github.com/en/rest/actions/workflows#create-a-workflow-dispatch-event
        """
        if not marker:
            raise ValueError("A dispatch needs a marker: a text that only its run's title has.")
        chosen = ref if ref is not None else self.requests.default_branch()
        body = {"ref": chosen, "inputs": dict(inputs), "return_run_details": True}
        try:
            answer = self.requests.send("POST", f"{self._path()}/dispatches", body)
            if not answer.is_success:
                raise self._refused(answer, chosen)
        except GitHubUnavailableError as error:
            return self._look_up(marker, error.reason)
        run = read_details(answer.body)
        return run if run is not None else self._look_up(marker, "the answer named no run")

    def _look_up(self, marker: str, reason: str) -> WorkflowRun:
        deadline = self.patience.clock() + self.patience.lookup
        path = f"{self._path()}/runs?event=workflow_dispatch&per_page={NEWEST}"
        while True:
            try:
                answer = self.requests.send("GET", path)
                found = self.requests.confirmed(answer, "list the runs").body["workflow_runs"]
            except DispatchError:  # whatever it is, it does not say that nothing was started
                found = []
            for run in map(read_status, found):
                if marker in run.title:
                    return WorkflowRun(run.id, run.url)
            if self.patience.clock() >= deadline:
                repository = str(self.requests.repository)
                raise UnclearDispatchError(repository, self.file, marker, reason)
            self.patience.sleep(PAUSE)

    def _refused(self, answer: Answer, ref: str) -> Exception:
        repository = self.requests.repository
        if answer.status == HTTPStatus.NOT_FOUND:
            with contextlib.suppress(GitHubUnavailableError):  # the refusal itself was clear
                self.requests.default_branch()
            return WorkflowNotFoundError(str(repository), self.file)
        is_unprocessable = answer.status == HTTPStatus.UNPROCESSABLE_ENTITY
        if is_unprocessable and re.search(r"No ref found", answer.message):
            return RefNotFoundError(str(repository), ref)
        return refusal(
            answer,
            host=repository.host,
            action=f"dispatch {self.file}",
            dispatch=(str(repository), self.file),
        )

    def _path(self) -> str:
        return f"/actions/workflows/{quote(self.file, safe='')}"
