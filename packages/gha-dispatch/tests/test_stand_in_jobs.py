"""Where act is lenient the stand-in fails as GitHub does."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from dispatch_world import (
    WORKER,
    World,
    conclusions,
    ended,
    enter,
    fleet,
    git,
    plain,
    processes_with,
    until,
)

from gha_dispatch import GitHub, Repository, find_gh
from gha_dispatch.testing import GitHubStandIn


@pytest.mark.parametrize(("fail_fast", "sibling"), [("true", "cancelled"), ("false", "success")])
def test_a_failed_job_cancels_its_siblings_unless_fail_fast_is_off(
    github: GitHub, world: World, fail_fast: str, sibling: str
) -> None:
    wait = "exec sleep 60" if fail_fast == "true" else "true"
    run = plain(
        world,
        github,
        f"""
        strategy: {{fail-fast: {fail_fast}, matrix: {{n: [0, 1]}}}}
        runs-on: ubuntu-latest
        steps:
          - run: |
              touch {world.out}/${{{{ matrix.n }}}}
              until [ -e {world.out}/0 ] && [ -e {world.out}/1 ]; do sleep 0.02; done
              [ ${{{{ matrix.n }}}} = 1 ] || exit 1
              {wait}
        """,
    )
    assert run.conclusion == "failure"
    assert conclusions(github, run.id) == {"work (0)": "failure", "work (1)": sibling}


@pytest.mark.parametrize(
    ("asked", "conclusion"),
    [("{contents: read}", "success"), ("{id-token: write}", "startup_failure")],
)
def test_a_called_workflow_may_not_ask_for_more_than_its_caller_grants(
    github: GitHub, stand_in: GitHubStandIn, world: World, asked: str, conclusion: str
) -> None:
    called = (world.provider / ".github/workflows/worker.yml").read_text()
    world.write_called("worker.yml", f"permissions: {asked}\n{called}")
    run = fleet(github, script=f"touch {world.out}/ran")
    assert run.conclusion == conclusion
    assert (world.out / "ran").exists() is (conclusion == "success")
    assert ("asks for id-token: write" in stand_in.log(run.id)) is (conclusion != "success")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('with: {vm: "${{ matrix.vm }}",', "with: {", "requires the input vm"),
        ("with: {", "with: {zzz: 1, ", "declares no input zzz"),
        ("secrets: {", "secrets: {ZZZ: x, ", "declares no secret ZZZ"),
        ("worker.yml@main", "nosuch.yml@main", "was not found"),
        ("provider/tools/", "someone/else/", "was not found"),
    ],
)
def test_a_wrong_call_is_a_startup_failure(
    github: GitHub, stand_in: GitHubStandIn, world: World, *, old: str, new: str, words: str
) -> None:
    caller = (world.caller / ".github/workflows/fleet.yml").read_text()
    assert old in caller
    world.write_caller("fleet.yml", caller.replace(old, new))
    run = fleet(github)
    assert run.conclusion == "startup_failure"
    assert words in stand_in.log(run.id)
    assert github.jobs(run.id) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("runs-on: windows-latest\nsteps: [{run: 'true'}]", "no runner has the label"),
        ("runs-on: [self-hosted]\nsteps: [{run: 'true'}]", "no runner has the label"),
        ("runs-on: ubuntu-latest\nsteps: [{uses: someone/else@v1}]", "no directory is mapped"),
        ("runs-on: ubuntu-latest\nsteps: [{uses: 'docker://x'}]", "no directory is mapped"),
        ("runs-on: ubuntu-latest\ncontainer: x\nsteps: [{run: 'true'}]", "containers"),
    ],
)
def test_a_job_that_cannot_run_fails_and_says_why(
    github: GitHub, stand_in: GitHubStandIn, world: World, body: str, words: str
) -> None:
    run = plain(world, github, body)
    assert run.conclusion == "failure"
    assert words in stand_in.log(run.id)


@pytest.mark.parametrize(
    ("vms", "words"), [("[]", "holds no values"), (str([*range(257)]), "makes 257 jobs")]
)
def test_an_empty_or_too_large_matrix_fails(
    github: GitHub, stand_in: GitHubStandIn, vms: str, words: str
) -> None:
    run = fleet(github, vms)
    assert run.conclusion == "failure"
    assert words in stand_in.log(run.id)


def test_a_step_sees_the_image_and_github_and_nothing_of_the_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-servers-own")
    for name in (".env", ".secrets", ".vars", ".actrc"):
        (world.caller / name).write_text("--env LEAK=1\n" if name == ".actrc" else "LEAK=1\n")
    with GitHubStandIn(world.config()) as stand_in:
        enter(monkeypatch, stand_in)
        github = GitHub(find_gh(), Repository.parse("owner/project"))
        run = fleet(github, script=f"env > {world.out}/env")
        assert run.conclusion == "success", stand_in.log(run.id)
    lines = (world.out / "env").read_text().splitlines()
    seen = dict(line.partition("=")[::2] for line in lines)
    expected = {
        "GITHUB_RUN_ID": str(run.id),
        "GITHUB_REPOSITORY": "owner/project",
        "GITHUB_SERVER_URL": "http://github.localhost",
        "GITHUB_WORKFLOW": "caller",
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_ACTIONS": "true",
        "LANG": "C.UTF-8",
    }
    assert {name: seen.get(name) for name in expected} == expected
    assert "AWS_SECRET_ACCESS_KEY" not in seen
    assert "LEAK" not in seen
    assert "GITHUB_TOKEN" not in seen
    assert not [name for name in seen if name.startswith(("GH_", "GHA_", "XDG_", "PYTEST_"))]
    assert not Path(seen["HOME"]).exists()


@pytest.mark.parametrize(("max_jobs", "max_parallel"), [(2, 256), (20, 2)])
def test_no_more_jobs_run_at_once_than_github_and_the_matrix_allow(
    world: World, monkeypatch: pytest.MonkeyPatch, max_jobs: int, max_parallel: int
) -> None:
    caller = (world.caller / ".github/workflows/fleet.yml").read_text()
    limited = caller.replace("max-parallel: 256", f"max-parallel: {max_parallel}")
    world.write_caller("fleet.yml", f"{limited}\n# {max_jobs}\n")
    script = (
        f"cd {world.out}; touch up-$VM; ls up-* | wc -l >> seen; "
        "until [ -e go ]; do sleep 0.02; done; rm up-$VM"
    )
    with GitHubStandIn(world.config(max_jobs=max_jobs)) as stand_in:
        enter(monkeypatch, stand_in)
        github = GitHub(find_gh(), Repository.parse("owner/project"))
        inputs = {"title": "t", "vms": "[0,1,2,3,4]", "script": script}
        run = github.workflow("fleet.yml").dispatch(inputs, None, "t")
        until(lambda: len(list(world.out.glob("up-*"))) == 2)
        statuses = [job.status for job in github.jobs(run.id)]
        assert sorted(statuses) == ["in_progress"] * 2 + ["queued"] * 3
        (world.out / "go").touch()
        assert ended(github, run.id).conclusion == "success"
    seen = [int(line) for line in (world.out / "seen").read_text().split()]
    assert len(seen) == 5
    assert max(seen) == 2


def test_more_than_four_jobs_of_a_matrix_run_at_once(github: GitHub, world: World) -> None:
    caller = (world.caller / ".github/workflows/fleet.yml").read_text()
    world.write_caller("fleet.yml", caller.replace("max-parallel: 256", ""))
    script = f"cd {world.out}; touch up-$VM; until [ $(ls up-* | wc -l) = 6 ]; do sleep 0.05; done"
    assert fleet(github, "[0,1,2,3,4,5]", script).conclusion == "success"


def test_a_cancelled_run_signals_the_entry_process_and_leaves_nothing(
    github: GitHub, world: World
) -> None:
    orphan = "(trap '' HUP INT TERM; exec setsid sleep 61.7) &"
    script = (
        f"{orphan} trap 'touch {world.out}/heard; exit 1' INT; "
        f"touch {world.out}/up; while :; do sleep 0.05; done"
    )
    inputs = {"title": "t", "vms": "[0]", "script": script}
    run = github.workflow("fleet.yml").dispatch(inputs, None, "t")
    until((world.out / "up").exists)
    github.cancel(run.id)
    assert ended(github, run.id).conclusion == "cancelled"
    assert (world.out / "heard").exists()
    assert processes_with("61.7") == []


def test_a_job_that_ends_leaves_no_process_behind(github: GitHub, world: World) -> None:
    run = fleet(github, script=f"setsid sleep 62.7 & touch {world.out}/up")
    assert run.conclusion == "success"
    assert (world.out / "up").exists()
    assert processes_with("62.7") == []


def test_stopping_leaves_no_process_and_no_file(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    temporary = tmp_path / "t"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    marker = str(world.out)
    with GitHubStandIn(world.config(max_jobs=1)) as stand_in:
        enter(monkeypatch, stand_in)
        github = GitHub(find_gh(), Repository.parse("owner/project"))
        script = f"trap '' INT TERM HUP; touch {world.out}/up; while :; do sleep 0.05; done"
        inputs = {"title": "t", "vms": "[0, 1]", "script": script}
        github.workflow("fleet.yml").dispatch(inputs, None, "t")
        until((world.out / "up").exists)
        assert processes_with(marker)
        assert list(temporary.iterdir())
    assert processes_with(marker) == []
    assert list(temporary.iterdir()) == []


def test_a_start_that_fails_leaves_no_file(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    temporary = tmp_path / "t"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(OSError, match="state"):
        GitHubStandIn(world.config(state=tmp_path / "state")).start()
    assert list(temporary.iterdir()) == []


def test_a_stand_in_starts_once(world: World) -> None:
    stand_in = GitHubStandIn(world.config())
    with stand_in:
        pass
    with pytest.raises(RuntimeError, match="starts once"):
        stand_in.start()


def test_an_action_that_cannot_be_read_fails_its_job(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "action.yml").write_text("}{")
    config = world.config(actions={"someone/broken": tmp_path / "broken"}, max_jobs=1)
    with GitHubStandIn(config) as stand_in:
        enter(monkeypatch, stand_in)
        github = GitHub(find_gh(), Repository.parse("owner/project"))
        uses = "runs-on: ubuntu-latest\nsteps: [{uses: someone/broken@v1}]"
        run = plain(world, github, uses)
        assert run.conclusion == "failure"
        assert "the runner failed: while parsing" in stand_in.log(run.id)
        after = plain(world, github, "runs-on: ubuntu-latest\nsteps: [{run: 'true'}]")
        assert after.conclusion == "success"


def test_a_job_over_its_time_limit_is_cancelled(
    github: GitHub, stand_in: GitHubStandIn, world: World
) -> None:
    run = plain(
        world,
        github,
        "runs-on: ubuntu-latest\ntimeout-minutes: 0.01\nsteps: [{run: exec sleep 60}]",
    )
    assert run.conclusion == "cancelled"
    assert "exceeded its limit" in stand_in.log(run.id)


def test_a_job_whose_condition_is_false_is_skipped(github: GitHub, world: World) -> None:
    run = plain(world, github, "if: false\nruns-on: ubuntu-latest\nsteps: [{run: 'true'}]")
    assert run.conclusion == "skipped"


def test_checkout_brings_the_commit_of_the_caller_and_the_working_files_of_a_provider(
    github: GitHub, world: World
) -> None:
    (world.caller / "committed.txt").write_text("one")
    git(world.provider, "init", "--quiet")
    (world.provider / "uncommitted.txt").write_text("two")
    (world.provider / ".gitignore").write_text("ignored.txt\n")
    (world.provider / "ignored.txt").touch()
    run = plain(
        world,
        github,
        f"""
        runs-on: ubuntu-24.04
        steps:
          - uses: actions/checkout@v6
          - uses: actions/checkout@v6
            with: {{repository: provider/tools, path: tools}}
          - run: cat committed.txt tools/uncommitted.txt > {world.out}/seen; touch new
          - run: '! [ -e tools/ignored.txt ]'
        """,
    )
    assert run.conclusion == "success"
    assert (world.out / "seen").read_text() == "onetwo"
    assert not (world.caller / "new").exists()


def test_a_local_reusable_workflow_is_called_at_the_commit_of_the_run(
    github: GitHub, world: World
) -> None:
    world.write_caller(
        "local.yml",
        f"""
        on: {{workflow_call: {{inputs: {{n: {{type: number, default: 3}}}}}}}}
        jobs:
          a:
            runs-on: ubuntu-latest
            strategy: {{matrix: {{x: [p, q]}}}}
            steps:
              - run: touch {world.out}/${{{{ matrix.x }}}}-${{{{ inputs.n }}}}
        """,
    )
    run = plain(world, github, "uses: ./.github/workflows/local.yml")
    assert run.conclusion == "success"
    assert sorted(path.name for path in world.out.iterdir()) == ["p-3", "q-3"]


@pytest.mark.parametrize(("owner", "seen"), [("owner", "a-value"), ("provider", "")])
def test_inherited_secrets_do_not_cross_owners(
    world: World, monkeypatch: pytest.MonkeyPatch, owner: str, seen: str
) -> None:
    caller = (world.caller / ".github/workflows/fleet.yml").read_text()
    inheriting = caller.replace('secrets: {KEY: "${{ secrets.KEY }}"}', "secrets: inherit")
    world.write_caller("fleet.yml", inheriting.replace("provider/tools", f"{owner}/tools"))
    world.write_called("worker.yml", WORKER.replace("provider/tools", f"{owner}/tools"))
    config = world.config(actions={f"{owner}/tools": world.provider}, secrets={"KEY": "a-value"})
    with GitHubStandIn(config) as stand_in:
        enter(monkeypatch, stand_in)
        github = GitHub(find_gh(), Repository.parse("owner/project"))
        run = fleet(github, script=f'printf %s "$KEY" > {world.out}/key')
        assert run.conclusion == "success", stand_in.log(run.id)
    assert (world.out / "key").read_text() == seen


def test_a_cancelled_run_never_starts_the_jobs_that_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with GitHubStandIn(world.config(max_jobs=1)) as stand_in:
        enter(monkeypatch, stand_in)
        github = GitHub(find_gh(), Repository.parse("owner/project"))
        script = f"touch {world.out}/$VM; exec sleep 60"
        inputs = {"title": "t", "vms": "[0, 1, 2]", "script": script}
        run = github.workflow("fleet.yml").dispatch(inputs, None, "t")
        until(lambda: len(list(world.out.iterdir())) == 1)
        github.cancel(run.id)
        assert ended(github, run.id).conclusion == "cancelled"
        assert set(conclusions(github, run.id).values()) == {"cancelled"}
    assert len(list(world.out.iterdir())) == 1
