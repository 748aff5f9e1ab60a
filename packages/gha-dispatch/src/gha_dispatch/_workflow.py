"""A workflow of the repository: what is known of it, and its runs."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from gha_dispatch._dispatch import Dispatch
from gha_dispatch._errors import (
    PermissionDeniedError,
    RefNotFoundError,
    WorkflowNotFoundError,
)
from gha_dispatch._requests import PAGE
from gha_dispatch._run import WorkflowRun, read_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gha_dispatch._gh import Json
    from gha_dispatch._requests import Requests

FOLDER = ".github/workflows"


@dataclass(frozen=True)
class Workflow:
    """The workflow in `.github/workflows/<file>` of the repository."""

    requests: Requests = field(repr=False)
    file: str

    def source(self, ref: str | None = None) -> str | None:
        """The text of the file, on the default branch or another ref; None when it is not there.

        One request, two when it is not there. Raises RefNotFoundError, and PermissionDeniedError
        for a token that may not read contents: whether there is a file is unknown then.
        """
        path = f"/contents/{FOLDER}/{quote(self.file, safe='')}"
        answer = self.requests.send("GET", path + (f"?ref={quote(ref, safe='')}" if ref else ""))
        if answer.status == HTTPStatus.NOT_FOUND:
            self.requests.read()
            if ref is not None and "No commit found" in answer.message:
                raise RefNotFoundError(str(self.requests.repository), ref)
            return None
        body = self.requests.confirmed(answer, "read the repository's contents").body
        return _decoded(body)

    def exists(self) -> bool:
        """Whether the workflow is on the default branch. One request, two when it is not.

        GitHub's list of workflows also holds those of other branches, so the file itself is asked
        for. Where the token may not read contents, the list decides: then a workflow that is on
        another branch alone is taken for one of the default branch. Raises
        RepositoryNotFoundError rather than False when the repository is not to be seen.
        """
        try:
            return self.source() is not None
        except PermissionDeniedError:
            return self._record() is not None

    def require(self) -> None:
        """Raise WorkflowNotFoundError unless the workflow exists. Costs what `exists` does."""
        if not self.exists():
            raise self._missing()

    def state(self) -> str:
        """GitHub's word: active, disabled_manually, disabled_inactivity, disabled_fork, ...

        One request, two without the workflow. Raises WorkflowNotFoundError.
        """
        record = self._record()
        if record is None:
            raise self._missing()
        return str(record["state"])

    def enable(self) -> None:
        """Switch the workflow on. One request. Safe to repeat. Raises WorkflowNotFoundError."""
        answer = self.requests.send("PUT", f"{self._path()}/enable")
        if answer.status == HTTPStatus.NOT_FOUND:
            self.requests.read()
            raise self._missing()
        self.requests.confirmed(answer, f"enable {self.file}")

    def runs(self, limit: int = 20) -> list[WorkflowRun]:
        """The newest runs, the newest first, each with its `seen`. One request per 100.

        Raises WorkflowNotFoundError.
        """
        found: list[Json] = []
        size = min(limit, PAGE)
        while len(found) < limit:
            path = f"{self._path()}/runs?per_page={size}&page={len(found) // size + 1}"
            answer = self.requests.send("GET", path)
            if answer.status == HTTPStatus.NOT_FOUND:
                self.requests.read()
                raise self._missing()
            page = self.requests.confirmed(answer, "list the runs").body["workflow_runs"]
            found += page
            if len(page) < size:
                break
        seen = map(read_status, found[:limit])
        return [WorkflowRun(run.id, run.url, self.requests, run) for run in seen]

    def dispatch(
        self, inputs: Mapping[str, str], ref: str | None = None, marker: str | None = None
    ) -> WorkflowRun:
        """Start one run and tell which one it is.

        `ref` is a branch or tag, None the default branch. `marker` is a text that the workflow's
        `run-name` shows for these inputs and that no other run of the same minutes has in its
        title. One request, one more without a ref, up to five more to tell why it was refused.

        What a rate limit refuses is sent again, for it was not done; apart from that the dispatch
        is never sent twice: after an unclear answer (none in time, a 5xx) and after one that names
        no run (older servers') the run is looked up by its marker, one request every two seconds
        within the client's `lookup`. Without a marker there is nothing to look for, and such an
        answer is an UnclearDispatchError at once.

        Raises WorkflowNotFoundError, WorkflowDisabledError, ActionsDisabledError,
        WorkflowNotDispatchableError, InputsRejectedError, RefNotFoundError,
        RepositoryNotFoundError: nothing was started. UnclearDispatchError: nothing was confirmed.
        Not promised: that the run has begun, or ever will.
        https://docs.github.com/en/rest/actions/workflows#create-a-workflow-dispatch-event
        """
        if marker == "":
            raise ValueError("An empty marker is in every title. Give one of its own, or None.")
        return Dispatch(self.requests, self, self._path()).send(inputs, ref, marker)

    def _record(self) -> Json | None:
        answer = self.requests.send("GET", self._path())
        if answer.status == HTTPStatus.NOT_FOUND:
            self.requests.read()
            return None
        return self.requests.confirmed(answer, "read the workflow").body

    def _missing(self) -> WorkflowNotFoundError:
        return WorkflowNotFoundError(str(self.requests.repository), self.file)

    def _path(self) -> str:
        return f"/actions/workflows/{quote(self.file, safe='')}"


def _decoded(body: Json) -> str | None:
    """The text of a file; None for what is no file, such as a directory."""
    if not isinstance(body, dict) or body.get("encoding") != "base64":
        return None
    try:
        return base64.b64decode(body["content"]).decode("utf-8", "replace")
    except binascii.Error:
        return None
