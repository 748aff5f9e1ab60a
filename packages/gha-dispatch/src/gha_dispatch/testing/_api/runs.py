"""The API of workflow runs: lists with filters, runs, jobs, logs, cancelling.

https://docs.github.com/en/rest/actions/workflow-runs
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gha_dispatch.testing._api.access import Need, refused
from gha_dispatch.testing._api.http import Request, Response
from gha_dispatch.testing._api.log_archive import archive, text_of
from gha_dispatch.testing._api.route import Paging, Route
from gha_dispatch.testing._api.run_views import annotation_view, job_view, run_view
from gha_dispatch.testing._runners.runs import COMPLETED, JobRecord, RunRecord, Runs

if TYPE_CHECKING:
    from gha_dispatch.testing._hosted import Hosted

READ = Need("actions")
WRITE = Need("actions", "write", "write")


class RunsApi:
    """Answers for the runs of the hosted repository."""

    def __init__(self, hosted: Hosted, runs: Runs) -> None:
        self._hosted = hosted
        self._runs = runs

    def routes(self) -> list[Route]:
        """The addresses of this part."""
        root = f"/repos/{re.escape(self._hosted.git.name)}"
        run = rf"{root}/actions/runs/(\d+)"
        return [
            Route("GET", f"{root}/actions/workflows/([^/]+)/runs", self._of_workflow, READ),
            Route("GET", f"{root}/actions/runs", self._list, READ),
            Route("GET", rf"{run}(?:/attempts/1)?", self._get, READ),
            Route("GET", rf"{run}(?:/attempts/1)?/jobs", self._jobs, READ),
            Route("GET", rf"{run}(?:/attempts/1)?/logs", self._logs, READ),
            Route("GET", rf"{root}/actions/jobs/(\d+)/logs", self._job_log, READ),
            Route("GET", rf"{run}/artifacts", self._artifacts, READ),
            Route("POST", rf"{run}/(?:force-)?cancel", self._cancelled, WRITE),
            Route("GET", rf"{root}/actions/jobs/(\d+)", self._job, READ),
            Route(
                "GET", rf"{root}/check-runs/(\d+)/annotations", self._annotations, Need("checks")
            ),
        ]

    def _list(self, request: Request) -> Response:
        return self._listed(request, self._runs.all())

    def _of_workflow(self, request: Request, name: str) -> Response:
        file = self._hosted.workflows.find(name)
        if file is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        return self._listed(request, [run for run in self._runs.all() if run.file == file])

    def _listed(self, request: Request, runs: list[RunRecord]) -> Response:
        views = [self._view(run) for run in runs]
        found = [view for view in views if _matches(view, request)]
        return Paging().answer(request, "workflow_runs", found, lambda view: view)

    def _get(self, _request: Request, run_id: str) -> Response:
        run = self._runs.get(int(run_id))
        if run is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        return Response(HTTPStatus.OK, self._view(run))

    def _jobs(self, request: Request, run_id: str) -> Response:
        run = self._runs.get(int(run_id))
        if run is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        name = self._hosted.git.name
        return Paging().answer(request, "jobs", run.jobs, lambda job: job_view(name, run, job))

    def _logs(self, _request: Request, run_id: str) -> Response:
        run = self._runs.get(int(run_id))
        if run is None or run.status != COMPLETED:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        return Response(HTTPStatus.OK, archive(run.jobs))

    def _job_log(self, _request: Request, job_id: str) -> Response:
        found = self._find_job(int(job_id))
        if found is None or found[1].status != COMPLETED:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        return Response(HTTPStatus.OK, text_of(found[1].log.lines()).encode())

    def _artifacts(self, request: Request, run_id: str) -> Response:
        if self._runs.get(int(run_id)) is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        return Paging().answer(request, "artifacts", [], lambda nothing: nothing)

    def _job(self, _request: Request, job_id: str) -> Response:
        found = self._find_job(int(job_id))
        if found is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        return Response(HTTPStatus.OK, job_view(self._hosted.git.name, *found))

    def _annotations(self, _request: Request, job_id: str) -> Response:
        found = self._find_job(int(job_id))
        if found is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        run, job = found
        return Response(HTTPStatus.OK, [annotation_view(run, words) for words in job.annotations])

    def _cancelled(self, _request: Request, run_id: str) -> Response:
        run = self._runs.get(int(run_id))
        if run is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        if not self._runs.cancel(run):
            words = "Cannot cancel a workflow run that is completed."
            return refused(HTTPStatus.CONFLICT, words)
        return Response(HTTPStatus.ACCEPTED, {})

    def _find_job(self, job_id: int) -> tuple[RunRecord, JobRecord] | None:
        for run in self._runs.all():
            for job in run.jobs:
                if job.id == job_id:
                    return run, job
        return None

    def _view(self, run: RunRecord) -> dict[str, Any]:
        return run_view(self._hosted.git.name, run, self._hosted.workflows.id(run.file))


def _matches(view: dict[str, Any], request: Request) -> bool:
    """Whether a run fits the filters of a list."""
    query = request.query
    exact = {
        "event": view["event"],
        "branch": view["head_branch"],
        "head_sha": view["head_sha"],
        "actor": view["actor"]["login"],
    }
    if any(query.get(name) not in {None, "", value} for name, value in exact.items()):
        return False
    if query.get("status") not in {None, "", view["status"], view["conclusion"]}:
        return False
    return _is_within(view["created_at"], query.get("created", ""))


def _is_within(moment: str, span: str) -> bool:
    """Whether a time fits a search term such as >=2026-01-31, 2026-01-01..2026-01-31 or a day.

    https://docs.github.com/en/search-github/getting-started-with-searching-on-github/understanding-the-search-syntax
    """
    span = span.replace("+00:00", "Z")
    first, dots, last = span.partition("..")
    if dots:
        return _is_within(moment, f">={first}") and _is_within(moment, f"<={last}")
    match = re.fullmatch(r"(>=|<=|>|<|)(.*)", span)
    sign, bound = (match[1], match[2]) if match is not None else ("", "")
    if bound in {"", "*"}:
        return True
    cut = moment[: len(bound)]  # a day holds all its hours
    return {
        "": cut == bound,
        ">=": cut >= bound,
        "<=": cut <= bound,
        ">": cut > bound,
        "<": cut < bound,
    }[sign]
