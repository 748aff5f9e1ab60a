"""Runs and jobs as the REST API shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gha_dispatch.testing._api.route import API, SERVER
from gha_dispatch.testing._api.timestamp import timestamp
from gha_dispatch.testing._hosted import FOLDER

if TYPE_CHECKING:
    from gha_dispatch.testing._runners.runs import JobRecord, RunRecord
    from gha_dispatch.testing._runners.steps import Step


def run_view(repository: str, run: RunRecord, workflow_id: int) -> dict[str, Any]:
    """A run."""
    owner, _, name = repository.partition("/")
    path = f"{repository}/actions/runs/{run.id}"
    created = timestamp(run.created)
    actor = {"login": run.actor, "id": 1, "type": "User"}
    shown = {"id": 1, "name": name, "full_name": repository, "owner": {"login": owner}}
    return {
        "id": run.id,
        "name": run.workflow,
        "run_number": run.number,
        "run_attempt": 1,
        "event": "workflow_dispatch",
        "display_title": run.title,
        "status": run.status,
        "conclusion": run.conclusion,
        "workflow_id": workflow_id,
        "path": f"{FOLDER}/{run.file}",
        "head_branch": run.ref,
        "head_sha": run.sha,
        "head_commit": {"id": run.sha, "message": run.message},
        "head_repository": shown,
        "repository": shown,
        "actor": actor,
        "triggering_actor": actor,
        "pull_requests": [],
        "created_at": created,
        "run_started_at": created,
        "updated_at": timestamp(run.updated),
        "url": f"{API}/repos/{path}",
        "html_url": f"{SERVER}/{path}",
        "jobs_url": f"{API}/repos/{path}/jobs",
        "cancel_url": f"{API}/repos/{path}/cancel",
        "artifacts_url": f"{API}/repos/{path}/artifacts",
    }


def job_view(repository: str, run: RunRecord, job: JobRecord) -> dict[str, Any]:
    """A job. Its steps are those that act told of."""
    return {
        "id": job.id,
        "run_id": run.id,
        "run_attempt": 1,
        "run_url": f"{API}/repos/{repository}/actions/runs/{run.id}",
        "workflow_name": run.workflow,
        "head_branch": run.ref,
        "head_sha": run.sha,
        "name": job.plan.name,
        "status": job.status,
        "conclusion": job.conclusion,
        "created_at": timestamp(run.created),
        "started_at": timestamp(job.started or run.created),
        "completed_at": timestamp(job.ended) if job.ended else None,
        "labels": list(job.plan.labels),
        "steps": [_step_view(step) for step in job.log.steps()],
        "url": f"{API}/repos/{repository}/actions/jobs/{job.id}",
        "html_url": f"{SERVER}/{repository}/actions/runs/{run.id}/job/{job.id}",
        "check_run_url": f"{API}/repos/{repository}/check-runs/{job.id}",
    }


def _step_view(step: Step) -> dict[str, Any]:
    return {
        "number": step.number,
        "name": step.name,
        "status": "in_progress" if step.ended is None else "completed",
        "conclusion": step.conclusion,
        "started_at": timestamp(step.started),
        "completed_at": None if step.ended is None else timestamp(step.ended),
    }


def annotation_view(run: RunRecord, message: str) -> dict[str, Any]:
    """What GitHub writes beside a job that did not run to its end."""
    return {
        "path": f"{FOLDER}/{run.file}",
        "start_line": 1,
        "end_line": 1,
        "annotation_level": "failure",
        "title": "",
        "message": message,
    }
