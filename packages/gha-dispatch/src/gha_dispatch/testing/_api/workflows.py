"""The API of workflows: which are registered, their state, and their dispatch.

https://docs.github.com/en/rest/actions/workflows
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gha_dispatch.testing._api.access import Need, refused
from gha_dispatch.testing._api.door import NEWEST
from gha_dispatch.testing._api.http import Request, Response
from gha_dispatch.testing._api.route import API, SERVER, Paging, Route, body_of
from gha_dispatch.testing._api.timestamp import timestamp
from gha_dispatch.testing._hosted import FOLDER
from gha_dispatch.testing._runners.runs import RunRecord
from gha_dispatch.testing._workflows.document import (
    Document,
    InputsError,
    InvalidWorkflowError,
    dispatch_inputs,
    read_workflow,
    trigger,
)
from gha_dispatch.testing._workflows.expressions import as_text

if TYPE_CHECKING:
    from gha_dispatch.testing._hosted import Hosted

READ = Need("actions")
WRITE = Need("actions", "write", "write")
NO_TRIGGER = "Workflow does not have 'workflow_dispatch' trigger"

Dispatch = Callable[[str, Document, str, str, Mapping[str, str]], RunRecord]


class WorkflowsApi:
    """Answers for workflows. `dispatch(file, document, ref, commit, inputs)` starts a run."""

    def __init__(self, hosted: Hosted, dispatch: Dispatch) -> None:
        self._hosted = hosted
        self._dispatch = dispatch

    def routes(self) -> list[Route]:
        """The addresses of this part."""
        root = f"/repos/{re.escape(self._hosted.git.name)}/actions/workflows"
        return [
            Route("GET", root, self._list, READ),
            Route("GET", f"{root}/([^/]+)", self._get, READ),
            Route("PUT", f"{root}/([^/]+)/(enable|disable)", self._switch, WRITE),
            Route("POST", f"{root}/([^/]+)/dispatches", self._dispatched, WRITE),
        ]

    def _list(self, request: Request) -> Response:
        return Paging().answer(request, "workflows", self._hosted.workflows.all(), self._view)

    def _get(self, _request: Request, name: str) -> Response:
        file = self._hosted.workflows.find(name)
        if file is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        return Response(HTTPStatus.OK, self._view(file))

    def _switch(self, _request: Request, name: str, action: str) -> Response:
        file = self._hosted.workflows.find(name)
        if file is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        state = "active" if action == "enable" else "disabled_manually"
        self._hosted.workflows.set_state(file, state)
        return Response(HTTPStatus.NO_CONTENT)

    def _dispatched(self, request: Request, name: str) -> Response:
        file = self._hosted.workflows.find(name)
        if file is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        body = body_of(request)
        try:
            run = self._start(file, body)
        except ValueError as error:
            return refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        is_newest = request.headers.get("x-github-api-version") == NEWEST
        if not is_newest and not body.get("return_run_details"):
            return Response(HTTPStatus.NO_CONTENT)
        path = f"{self._hosted.git.name}/actions/runs/{run.id}"
        details = {
            "workflow_run_id": run.id,
            "run_url": f"{API}/repos/{path}",
            "html_url": f"{SERVER}/{path}",
        }
        return Response(HTTPStatus.OK, details)

    def _start(self, file: str, body: Mapping[str, Any]) -> RunRecord:
        """Start a run. Raises ValueError in GitHub's words.

        The default branch must have the workflow with its trigger, whichever ref is to run:
        https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows#workflow_dispatch
        """
        if not self._hosted.is_enabled:
            raise ValueError("Actions has been disabled for this repository.")
        if self._hosted.workflows.state(file) != "active":
            raise ValueError("Cannot trigger a 'workflow_dispatch' on a disabled workflow")
        if not isinstance(body.get("ref"), str):
            raise ValueError('Invalid request.\n\n"ref" wasn\'t supplied.')  # noqa: TRY004 -- an answer
        found = self._hosted.git.resolve(body["ref"])
        if found is None:
            raise ValueError(f"No ref found for: {body['ref']}")
        ref, commit = found
        self._declared("HEAD", file)
        document, declared = self._declared(commit, file)
        given = body.get("inputs") or {}
        if not isinstance(given, dict) or not all(isinstance(one, str) for one in given.values()):
            raise InputsError(
                "Invalid request.\n\nFor 'properties/inputs', every value is a string."
            )
        inputs = dispatch_inputs(declared.get("inputs") or {}, given)
        return self._dispatch(file, document, ref, commit, inputs)

    def _declared(self, commit: str, file: str) -> tuple[Document, Mapping[str, Any]]:
        """The workflow at a commit and its trigger. Raises ValueError without either."""
        text = self._hosted.git.read_text(commit, f"{FOLDER}/{file}")
        if text is None:
            raise InvalidWorkflowError(NO_TRIGGER)
        document = read_workflow(text)
        declared = trigger(document, "workflow_dispatch")
        if declared is None:
            raise InvalidWorkflowError(NO_TRIGGER)
        return document, declared

    def _view(self, file: str) -> dict[str, Any]:
        workflows, name = self._hosted.workflows, self._hosted.git.name
        path = f"{FOLDER}/{file}"
        registered = timestamp(workflows.registered)
        return {
            "id": workflows.id(file),
            "name": self._title(file) or path,
            "path": path,
            "state": workflows.state(file),
            "created_at": registered,
            "updated_at": registered,
            "url": f"{API}/repos/{name}/actions/workflows/{workflows.id(file)}",
            "html_url": f"{SERVER}/{name}/blob/{self._hosted.git.default_branch()}/{path}",
            "badge_url": f"{SERVER}/{name}/workflows/{file}/badge.svg",
        }

    def _title(self, file: str) -> str:
        text = self._hosted.git.read_text("HEAD", f"{FOLDER}/{file}")
        try:
            return "" if text is None else as_text(read_workflow(text).get("name"))
        except InvalidWorkflowError:
            return ""
