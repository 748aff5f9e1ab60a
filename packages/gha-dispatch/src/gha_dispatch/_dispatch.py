"""Sending a dispatch once, finding its run, and finding out why it was refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from gha_dispatch._access import are_enabled
from gha_dispatch._errors import (
    ActionsDisabledError,
    DispatchError,
    GitHubUnavailableError,
    NetworkError,
    PermissionDeniedError,
    RateLimitedError,
    UnclearDispatchError,
    WorkflowDisabledError,
    WorkflowNotFoundError,
)
from gha_dispatch._refusals import needs_write, of_dispatch
from gha_dispatch._run import WorkflowRun, read_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gha_dispatch._gh import Answer, Json
    from gha_dispatch._requests import Requests
    from gha_dispatch._workflow import Workflow

PAUSE = 2.0  # seconds between two looks for a run
NEWEST = 50  # runs that one look sees
ROUNDING = 2.0  # seconds: GitHub tells times in whole ones
OFF_FOR_FORKS = "disabled_fork"
_DISABLED = re.compile(r"\bActions (has been|is) disabled|\bon a disabled workflow")


@dataclass(frozen=True)
class Dispatch:
    """One dispatch of the workflow below `path`."""

    requests: Requests
    workflow: Workflow
    path: str

    def send(self, inputs: Mapping[str, str], ref: str | None, marker: str | None) -> WorkflowRun:
        """Start one run; see Workflow.dispatch."""
        chosen = ref if ref is not None else self.requests.default_branch()
        sent = self.requests.patience.clock()
        try:
            answer = self._post({"ref": chosen, "inputs": dict(inputs)})
        except NetworkError as error:
            return self._look_up(marker, sent, error.reason)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return self._look_up(marker, sent, f"HTTP {answer.status}")
        if not answer.is_success:
            raise self._refused(answer, chosen)
        run = self._named(answer.body)
        return run if run is not None else self._look_up(marker, sent, "it named no run")

    def _post(self, body: Mapping[str, object]) -> Answer:
        path, wish = f"{self.path}/dispatches", "return_run_details"
        answer = self.requests.send("POST", path, {**body, wish: True})
        if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY and wish in answer.message:
            # an older server, which does not know the wish and has started nothing
            answer = self.requests.send("POST", path, body)
        return answer

    def _named(self, body: Json) -> WorkflowRun | None:
        """The run that the answer names; None when it names none, as older servers' does not."""
        if not isinstance(body, dict) or "workflow_run_id" not in body:
            return None
        return WorkflowRun(int(body["workflow_run_id"]), str(body["html_url"]), self.requests)

    def _look_up(self, marker: str | None, sent: float, reason: str) -> WorkflowRun:
        patience = self.requests.patience
        deadline = patience.clock() + patience.lookup
        path = f"{self.path}/runs?event=workflow_dispatch&per_page={NEWEST}"
        while marker is not None:
            # a rate limit is no reason to look for longer
            left = max(deadline - patience.clock(), 0.0)
            hasty = replace(self.requests, patience=replace(patience, limits=left))
            try:
                answer = hasty.send("GET", path)
                found = hasty.confirmed(answer, "list the runs").body["workflow_runs"]
            except RateLimitedError:  # it outlasts the look-up
                break
            except DispatchError:  # whatever it is, it does not say that nothing was started
                found = []
            elapsed = patience.clock() - sent
            for body in found:
                run = read_status(body)
                if marker in run.title and is_younger(body, answer.date, elapsed):
                    return WorkflowRun(run.id, run.url, self.requests, run)
            if patience.clock() >= deadline:
                break
            patience.sleep(PAUSE)
        repository = str(self.requests.repository)
        raise UnclearDispatchError(repository, self.workflow.file, marker, reason)

    def _refused(self, answer: Answer, ref: str) -> DispatchError:
        """The error for a refusal. Asks up to five times more when GitHub's words do not tell."""
        repository, file = str(self.requests.repository), self.workflow.file
        is_disabled = _DISABLED.search(answer.message) is not None
        if answer.status != HTTPStatus.NOT_FOUND and not is_disabled:
            return of_dispatch(answer, repository, file, ref)
        try:
            return self._hindrance(answer.message)
        except (GitHubUnavailableError, RateLimitedError):  # the refusal itself was clear
            kind = WorkflowDisabledError if is_disabled else WorkflowNotFoundError
            return kind(repository, file)
        except DispatchError as error:
            return error

    def _hindrance(self, message: str) -> DispatchError:
        """What stands in the way of every dispatch of this workflow."""
        repository, file = str(self.requests.repository), self.workflow.file
        is_fork = bool(self.requests.read().get("fork"))
        try:
            state = self.workflow.state()
        except WorkflowNotFoundError:
            return self._unlisted(is_fork=is_fork)
        if state == OFF_FOR_FORKS or "Actions" in message or self._is_off():
            return ActionsDisabledError(repository, fork=is_fork)
        if state.startswith("disabled"):
            return WorkflowDisabledError(repository, file)
        # GitHub answers "not found" for what a login may see and not do
        remedy = needs_write(self.requests.repository.host)
        return PermissionDeniedError(f"dispatch {file}", message, remedy)

    def _unlisted(self, *, is_fork: bool) -> DispatchError:
        """Why GitHub does not know the workflow: it is not there, or nothing runs here."""
        repository, file = str(self.requests.repository), self.workflow.file
        try:
            is_there = self.workflow.source() is not None
        except PermissionDeniedError:
            is_there = False
        if is_there and (is_fork or self._is_off()):
            return ActionsDisabledError(repository, fork=is_fork)
        return WorkflowNotFoundError(repository, file, unread=is_there)

    def _is_off(self) -> bool:
        return are_enabled(self.requests) is False


def is_younger(run: Json, now: datetime | None, seconds: float) -> bool:
    """Whether a run was made within the last `seconds`, by GitHub's clock; True when it is silent.

    A run that an earlier dispatch with the same marker started is older.
    """
    created = run.get("created_at")
    if created is None or now is None:
        return True
    made = datetime.fromisoformat(created.replace("Z", "+00:00"))  # 3.10 does not know the Z
    return (now - made).total_seconds() <= seconds + ROUNDING
