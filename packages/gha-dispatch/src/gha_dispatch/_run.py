"""Workflow runs and jobs as records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gha_dispatch._gh import Json


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
    """A job of a run: one element of a matrix, one VM. The words are those of the run."""

    id: int
    name: str
    status: str
    conclusion: str | None
    url: str


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


def read_details(body: Json) -> WorkflowRun | None:
    """Read the answer to a dispatch; None when it names no run, as older servers' does not."""
    if not isinstance(body, dict) or "workflow_run_id" not in body:
        return None
    return WorkflowRun(int(body["workflow_run_id"]), str(body["html_url"]))
