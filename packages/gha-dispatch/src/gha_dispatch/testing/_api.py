"""The part of the GitHub REST API that gha_dispatch asks for, with GitHub's own refusals."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

from gha_dispatch.testing._document import (
    Document,
    InputsError,
    InvalidWorkflowError,
    dispatch_inputs,
    read_workflow,
    trigger,
)
from gha_dispatch.testing._http import Request, Response
from gha_dispatch.testing._runs import RunRecord, Runs, job_json, run_json

if TYPE_CHECKING:
    from gha_dispatch.testing._caller import Caller

FOLDER = ".github/workflows"
LOGIN = "stand-in"
KEY_ID = "1"
MAX_SECRET = 48 * 1024
_SECRET_NAME = re.compile(r"(?!GITHUB_)[A-Z_][A-Z0-9_]*", re.IGNORECASE)

Dispatch = Callable[[str, Document, str, str, Mapping[str, str]], RunRecord]


class Api:
    """Answers requests. `dispatch(file, document, ref, commit, inputs)` starts a run."""

    def __init__(
        self,
        *,
        caller: Caller,
        token: str,
        secrets: dict[str, bytes],
        runs: Runs,
        dispatch: Dispatch,
        base: str,
    ) -> None:
        self._caller = caller
        self._token = token
        self._secrets = secrets
        self._runs = runs
        self._dispatch = dispatch
        self._base = base
        self._key = PrivateKey.generate()
        self._lock = threading.Lock()
        self._workflow_ids: dict[str, int] = {}
        root = f"/repos/{re.escape(caller.name)}"
        self._routes: list[tuple[str, str, Callable[..., Response]]] = [
            ("GET", r"/user", self._user),
            ("GET", root, self._repository),
            ("GET", rf"{root}/actions/workflows/([^/]+)", self._workflow),
            ("GET", rf"{root}/actions/workflows/([^/]+)/runs", self._workflow_runs),
            ("POST", rf"{root}/actions/workflows/([^/]+)/dispatches", self._dispatched),
            ("GET", rf"{root}/actions/runs", self._all_runs),
            ("GET", rf"{root}/actions/runs/(\d+)", self._run),
            ("GET", rf"{root}/actions/runs/(\d+)/jobs", self._jobs),
            ("POST", rf"{root}/actions/runs/(\d+)/cancel", self._cancelled),
            ("GET", rf"{root}/actions/secrets", self._secret_names),
            ("GET", rf"{root}/actions/secrets/public-key", self._public_key),
            ("PUT", rf"{root}/actions/secrets/([^/]+)", self._secret_set),
        ]

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.token is None:
            return _refused(401, "Requires authentication")
        if request.token != self._token:
            return _refused(401, "Bad credentials")
        for method, pattern, answer in self._routes:
            match = re.fullmatch(pattern, request.path)
            if match is not None and method == request.method:
                return answer(request, *match.groups())
        return _refused(404, "Not Found")

    def _user(self, _request: Request) -> Response:
        return Response(200, {"login": LOGIN, "id": 1}, {"X-OAuth-Scopes": "repo, workflow"})

    def _repository(self, _request: Request) -> Response:
        body = {
            "id": 1,
            "full_name": self._caller.name,
            "private": True,
            "default_branch": self._caller.default_branch(),
            "html_url": self._base,
        }
        return Response(200, body)

    def _workflow(self, _request: Request, name: str) -> Response:
        file = self._known(name)
        if file is None:
            return _refused(404, "Not Found")
        path = f"{FOLDER}/{file}"
        body = {"id": self._workflow_ids[file], "name": file, "path": path, "state": "active"}
        return Response(200, body)

    def _dispatched(self, request: Request, name: str) -> Response:
        file = self._known(name)
        if file is None:
            return _refused(404, "Not Found")
        body = request.body if isinstance(request.body, dict) else {}
        if not isinstance(body.get("ref"), str):
            return _refused(422, 'Invalid request. "ref" wasn\'t supplied.')
        found = self._caller.resolve(body["ref"])
        if found is None:
            return _refused(422, f"No ref found for: {body['ref']}")
        ref, commit = found
        try:
            document = read_workflow(self._caller.read(commit, f"{FOLDER}/{file}") or "")
            inputs = _read_inputs(document, body.get("inputs") or {})
        except (InputsError, InvalidWorkflowError) as error:
            return _refused(422, str(error))
        run = self._dispatch(file, document, ref, commit, inputs)
        if not body.get("return_run_details"):
            return Response(204)
        api = f"http://api.github.localhost/repos/{self._caller.name}/actions/runs/{run.id}"
        url = f"{self._base}/actions/runs/{run.id}"
        return Response(200, {"workflow_run_id": run.id, "run_url": api, "html_url": url})

    def _all_runs(self, request: Request) -> Response:
        return self._listed(request, self._runs.all())

    def _workflow_runs(self, request: Request, name: str) -> Response:
        file = self._known(name)
        if file is None:
            return _refused(404, "Not Found")
        return self._listed(request, [run for run in self._runs.all() if run.file == file])

    def _listed(self, request: Request, runs: list[RunRecord]) -> Response:
        if request.query.get("event", "workflow_dispatch") != "workflow_dispatch":
            runs = []
        shown = [self._run_json(run) for run in _page(request, runs)]
        return Response(200, {"total_count": len(runs), "workflow_runs": shown})

    def _run(self, _request: Request, run_id: str) -> Response:
        run = self._runs.get(int(run_id))
        return _refused(404, "Not Found") if run is None else Response(200, self._run_json(run))

    def _jobs(self, request: Request, run_id: str) -> Response:
        run = self._runs.get(int(run_id))
        if run is None:
            return _refused(404, "Not Found")
        shown = [job_json(run, job, self._base) for job in _page(request, run.jobs)]
        return Response(200, {"total_count": len(run.jobs), "jobs": shown})

    def _cancelled(self, _request: Request, run_id: str) -> Response:
        run = self._runs.get(int(run_id))
        if run is None:
            return _refused(404, "Not Found")
        if not self._runs.cancel(run):
            return _refused(409, "Cannot cancel a workflow run that is completed.")
        return Response(202, {})

    def _secret_names(self, request: Request) -> Response:
        names = sorted(self._secrets)
        shown = [{"name": name} for name in _page(request, names)]
        return Response(200, {"total_count": len(names), "secrets": shown})

    def _public_key(self, _request: Request) -> Response:
        key = base64.b64encode(bytes(self._key.public_key)).decode()
        return Response(200, {"key_id": KEY_ID, "key": key})

    def _secret_set(self, request: Request, name: str) -> Response:
        body = request.body if isinstance(request.body, dict) else {}
        if not _SECRET_NAME.fullmatch(name):
            return _refused(422, "Secret names can only contain alphanumeric characters or _")
        if body.get("key_id") != KEY_ID:
            return _refused(422, "Invalid key_id")
        try:
            sealed = base64.b64decode(body["encrypted_value"], validate=True)
            value = SealedBox(self._key).decrypt(sealed)
        except (KeyError, TypeError, ValueError, CryptoError):
            return _refused(422, "Bad request - encrypted_value is not a sealed box of this key")
        if len(value) > MAX_SECRET:
            return _refused(422, "Secret value is too large")
        is_new = name.upper() not in self._secrets
        self._secrets[name.upper()] = value
        return Response(201, {}) if is_new else Response(204)

    def _known(self, name: str) -> str | None:
        """The file of a workflow on the default branch, asked for by file name or id."""
        with self._lock:
            by_id = {str(number): file for file, number in self._workflow_ids.items()}
        file = by_id.get(name, name)
        branch = self._caller.default_branch()
        if self._caller.read(branch, f"{FOLDER}/{file}") is None:
            return None
        with self._lock:
            self._workflow_ids.setdefault(file, len(self._workflow_ids) + 1)
        return file

    def _run_json(self, run: RunRecord) -> dict[str, Any]:
        return run_json(run, self._base, self._workflow_ids[run.file])


def _read_inputs(document: Document, given: Mapping[str, str]) -> dict[str, str]:
    declared = trigger(document, "workflow_dispatch")
    if declared is None:
        raise InvalidWorkflowError("Workflow does not have 'workflow_dispatch' trigger")
    if not isinstance(given, dict) or not all(isinstance(v, str) for v in given.values()):
        raise InputsError("Invalid inputs: every input is a string")
    return dispatch_inputs(declared.get("inputs") or {}, given)


def _page(request: Request, items: list[Any]) -> list[Any]:
    size = min(int(request.query.get("per_page", "30")), 100)
    start = (int(request.query.get("page", "1")) - 1) * size
    return items[start : start + size]


def _refused(status: int, message: str) -> Response:
    body = {"message": message, "documentation_url": "https://docs.github.com/rest"}
    return Response(status, body)
