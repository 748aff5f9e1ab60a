"""Workflows and jobs of one concurrency group run one at a time, as on GitHub."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest
from dispatch_world import World, conclusions, ended, gh_json, until

if TYPE_CHECKING:
    from gha_dispatch import GitHub
    from gha_dispatch.testing import GitHubStandIn

WORKFLOW = """
on: {{workflow_dispatch: {{inputs: {{n: {{required: true}}, group: {{default: g}}}}}}}}
run-name: number ${{{{ inputs.n }}}}
{workflow}
jobs:
  work:
    {job}
    runs-on: ubuntu-latest
    steps:
      - run: |
          touch {out}/up-${{{{ inputs.n }}}}
          until [ -e {out}/go-${{{{ inputs.n }}}} ]; do sleep 0.02; done
"""


def write(world: World, *, workflow: str = "", job: str = "") -> None:
    text = WORKFLOW.format(workflow=workflow, job=job, out=world.out)
    world.write_caller("one.yml", textwrap.dedent(text))


def start(github: GitHub, number: int, group: str = "g") -> int:
    inputs = {"n": str(number), "group": group}
    return github.workflow("one.yml").dispatch(inputs, None, marker=f"number {number}").id


def let_go(world: World, number: int) -> None:
    (world.out / f"go-{number}").touch()


def is_up(world: World, number: int) -> bool:
    return (world.out / f"up-{number}").exists()


@pytest.mark.parametrize("level", ["workflow", "job"])
def test_one_runs_one_waits_and_a_newer_one_takes_the_place_of_the_waiting(
    github: GitHub, stand_in: GitHubStandIn, world: World, level: str
) -> None:
    write(world, **{level: 'concurrency: "${{ inputs.group }}"'})
    first = start(github, 1)
    until(lambda: is_up(world, 1))
    second = start(github, 2)
    if level == "workflow":
        assert github.run(second).status == "pending"
        assert github.jobs(second) == []
    else:
        until(lambda: [job.status for job in github.jobs(second)] == ["pending"])
    third = start(github, 3, group="G")
    other = start(github, 4, group="another")
    assert ended(github, second).conclusion == "cancelled"
    assert "a higher priority waiting request for 'G' exists" in stand_in.log(second)
    until(lambda: is_up(world, 4))
    assert not is_up(world, 3)
    for number in (1, 3, 4):
        let_go(world, number)
    for run in (first, third, other):
        assert ended(github, run).conclusion == "success"
    assert not is_up(world, 2)


@pytest.mark.parametrize("level", ["workflow", "job"])
def test_the_running_one_is_cancelled_where_that_is_asked_for(
    github: GitHub, stand_in: GitHubStandIn, world: World, level: str
) -> None:
    cancels = "${{ inputs.n != '1' }}"
    write(world, **{level: f'concurrency: {{group: g, cancel-in-progress: "{cancels}"}}'})
    first = start(github, 1)
    until(lambda: is_up(world, 1))
    second = start(github, 2)
    assert ended(github, first).conclusion == "cancelled"
    until(lambda: is_up(world, 2))
    let_go(world, 2)
    assert ended(github, second).conclusion == "success"
    (job,) = gh_json("api", f"repos/owner/project/actions/runs/{first}/jobs")["jobs"]
    notes = gh_json("api", f"repos/owner/project/check-runs/{job['id']}/annotations")
    words = "a higher priority waiting request for 'g' exists"
    assert words in (stand_in.log(first) if level == "workflow" else notes[0]["message"])


def test_a_queue_without_limit_keeps_all_who_wait_in_order(github: GitHub, world: World) -> None:
    write(world, workflow="concurrency: {group: g, queue: max}")
    runs = [start(github, number) for number in (1, 2, 3)]
    for number, run in enumerate(runs, start=1):
        until(lambda number=number: is_up(world, number))  # type: ignore[misc]
        assert not is_up(world, number + 1)
        let_go(world, number)
        assert ended(github, run).conclusion == "success"


def test_a_waiting_run_can_be_cancelled_and_makes_room(github: GitHub, world: World) -> None:
    write(world, workflow="concurrency: g")
    first = start(github, 1)
    until(lambda: is_up(world, 1))
    second = start(github, 2)
    github.cancel(second)
    assert ended(github, second).conclusion == "cancelled"
    third = start(github, 3)
    let_go(world, 1)
    let_go(world, 3)
    assert ended(github, first).conclusion == "success"
    assert ended(github, third).conclusion == "success"


def test_a_job_that_would_wait_for_its_own_run_is_refused(
    github: GitHub, stand_in: GitHubStandIn, world: World
) -> None:
    write(world, workflow="concurrency: same", job="concurrency: Same")
    run = start(github, 1)
    assert ended(github, run).conclusion == "failure"
    assert "it would wait for itself in the concurrency group 'Same'" in stand_in.log(run)


@pytest.mark.parametrize("stated", ["{cancel-in-progress: true}", "{group: g, queue: some}"])
def test_a_group_that_cannot_be_read_is_a_startup_failure(
    github: GitHub, stand_in: GitHubStandIn, world: World, stated: str
) -> None:
    write(world, workflow=f"concurrency: {stated}")
    run = start(github, 1)
    assert ended(github, run).conclusion == "startup_failure"
    assert "concurrency" in stand_in.log(run)


def test_a_called_workflow_enters_its_groups_as_one(github: GitHub, world: World) -> None:
    """Both jobs of a call share the caller's place, and two calls take turns."""
    world.write_called(
        "two.yml",
        f"""
        on: {{workflow_call: {{inputs: {{n: {{type: string}}}}}}}}
        jobs:
          a: &job
            runs-on: ubuntu-latest
            steps:
              - run: |
                  touch {world.out}/$GITHUB_JOB-${{{{ inputs.n }}}}
                  until [ -e {world.out}/go-${{{{ inputs.n }}}} ]; do sleep 0.02; done
          b: *job
        """,
    )
    world.write_caller(
        "one.yml",
        """
        on: {workflow_dispatch: {inputs: {n: {}, group: {}}}}
        run-name: number ${{ inputs.n }}
        jobs:
          call:
            concurrency: ${{ inputs.group }}
            uses: provider/tools/.github/workflows/two.yml@main
            with: {n: "${{ inputs.n }}"}
        """,
    )
    first, second = start(github, 1), start(github, 2)
    until(lambda: len(list(world.out.glob("*-1"))) == 2)
    assert list(world.out.glob("*-2")) == []
    assert {job.status for job in github.jobs(second)} == {"pending"}
    let_go(world, 1)
    let_go(world, 2)
    assert ended(github, second).conclusion == "success"
    assert set(conclusions(github, first).values()) == {"success"}
