"""What an id token of a job says, as GitHub's says it.

https://docs.github.com/en/actions/reference/security/oidc
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gha_dispatch.testing._workflows.plan import PlannedJob

OF_GITHUB = (
    "actor",
    "actor_id",
    "event_name",
    "ref",
    "ref_type",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "run_attempt",
    "run_id",
    "run_number",
    "sha",
    "workflow",
    "workflow_ref",
    "workflow_sha",
)


def claims_of(
    job: PlannedJob, github: Mapping[str, str], *, visibility: str, called: tuple[str, str | None]
) -> dict[str, str]:
    """The claims of a job besides its times and its id; `aud` is what a request may choose.

    `called` is the reusable workflow with its full ref, and its commit where that is known.
    """
    repository, environment = github["repository"], job.environment
    suffix = f"environment:{environment}" if environment else f"ref:{github['ref']}"
    workflow, commit = called
    is_hosted = all(label.startswith("ubuntu-") for label in job.labels)
    optional = {"environment": environment, "job_workflow_sha": commit}
    return {
        **{name: github[name] for name in OF_GITHUB},
        **{name: value for name, value in optional.items() if value},
        "aud": f"{github['server_url']}/{github['repository_owner']}",
        "sub": f"repo:{repository}:{suffix}",
        "base_ref": "",
        "head_ref": "",
        "job_workflow_ref": workflow,
        "repository_visibility": visibility,
        "runner_environment": "github-hosted" if is_hosted else "self-hosted",
    }
