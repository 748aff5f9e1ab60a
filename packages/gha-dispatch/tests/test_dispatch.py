from __future__ import annotations

from typing import TYPE_CHECKING

from .conftest import World, ended

if TYPE_CHECKING:
    from gha_dispatch import GitHub
    from gha_dispatch.testing import GitHubStandIn


def test_a_dispatched_workflow_runs_with_its_inputs_secrets_and_variables(
    github: GitHub, stand_in: GitHubStandIn, world: World
) -> None:
    github.secrets.set("KEY", 'a "b" $c')
    script = f'printf "%s|%s|%s" "$VM" "$KEY" "$REGION" > {world.out}/$VM'
    run = github.workflow("fleet.yml").dispatch(
        {"title": "t-1", "vms": "[0, 1]", "script": script}, None, "t-1"
    )
    status = ended(github, run.id)
    print(stand_in.log(run.id))
    assert (status.status, status.conclusion, status.title) == ("completed", "success", "fleet t-1")
    assert (world.out / "1").read_text() == '1|a "b" $c|eu-1'
