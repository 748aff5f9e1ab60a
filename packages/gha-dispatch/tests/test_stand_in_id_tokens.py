"""Jobs that may, and only they, ask for id tokens; the stand-in tells a true one from a forged one."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from dispatch_world import WORKER, World, ended, enter, fleet, git, plain, until

from gha_dispatch import GitHub, Repository, find_gh
from gha_dispatch.testing import GitHubStandIn

ASK = """
permissions: {permissions}
{environment}
runs-on: ubuntu-latest
steps:
  - run: |
      env | grep ^ACTIONS_ID_TOKEN > {out}/variables || true
      echo "asking with $ACTIONS_ID_TOKEN_REQUEST_TOKEN"
      ps -eo args > {out}/processes
      touch {out}/up
      until [ -e {out}/go ]; do sleep 0.02; done
"""


def variables(world: World) -> dict[str, str]:
    """What the job wrote down of its environment."""
    until((world.out / "up").exists)
    lines = (world.out / "variables").read_text().splitlines()
    return dict(line.partition("=")[::2] for line in lines)


def ask(seen: dict[str, str], audience: str) -> str:
    url = seen["ACTIONS_ID_TOKEN_REQUEST_URL"] + audience
    bearer = f"bearer {seen['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"
    request = urllib.request.Request(url, headers={"Authorization": bearer})  # noqa: S310 -- http
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 -- http
        return str(json.load(answer)["value"])


def start(world: World, github: GitHub, permissions: str, environment: str = "") -> int:
    text = ASK.format(permissions=permissions, environment=environment, out=world.out)
    body = "".join(f"    {line}\n" for line in text.splitlines())
    world.write_caller("ask.yml", f"on: workflow_dispatch\njobs:\n  ask:\n{body}")
    return github.workflow("ask.yml").dispatch({}, None, marker="none").id


def test_a_job_with_the_permission_gets_tokens_with_githubs_claims(
    github: GitHub, stand_in: GitHubStandIn, world: World
) -> None:
    run = start(world, github, "{id-token: write}")
    seen = variables(world)
    token = ask(seen, "&audience=sts.amazonaws.com")
    claims = stand_in.verify_id_token(token, "sts.amazonaws.com")
    expected = {
        "iss": "https://token.actions.githubusercontent.com",
        "sub": "repo:owner/project:ref:refs/heads/main",
        "aud": "sts.amazonaws.com",
        "repository": "owner/project",
        "repository_owner": "owner",
        "repository_visibility": "public",
        "ref": "refs/heads/main",
        "sha": git(world.caller, "rev-parse", "HEAD").strip(),
        "run_id": str(run),
        "event_name": "workflow_dispatch",
        "job_workflow_ref": "owner/project/.github/workflows/ask.yml@refs/heads/main",
        "runner_environment": "github-hosted",
    }
    assert {name: claims[name] for name in expected} == expected
    assert claims["exp"] - claims["iat"] == 300
    unasked = stand_in.verify_id_token(ask(seen, ""))
    assert unasked["aud"] == "http://github.localhost/owner"
    assert unasked["jti"] != claims["jti"]
    (world.out / "go").touch()
    assert ended(github, run).conclusion == "success"
    bearer = seen["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    assert "asking with ***" in stand_in.log(run)
    assert bearer not in stand_in.log(run)
    assert bearer not in (world.out / "processes").read_text()
    assert "act workflow_dispatch" in (world.out / "processes").read_text()
    with pytest.raises(urllib.error.HTTPError, match="401") as late:
        ask(seen, "")  # its job is over
    late.value.close()


def test_a_token_names_the_environment_of_its_job(
    github: GitHub, stand_in: GitHubStandIn, world: World
) -> None:
    run = start(world, github, "{id-token: write}", "environment: {name: production}")
    claims = stand_in.verify_id_token(ask(variables(world), ""))
    assert claims["sub"] == "repo:owner/project:environment:production"
    assert claims["environment"] == "production"
    (world.out / "go").touch()
    ended(github, run)


@pytest.mark.parametrize("permissions", ["{contents: read}", "read-all", "{}"])
def test_a_job_without_the_permission_has_no_way_to_ask(
    github: GitHub, world: World, permissions: str
) -> None:
    (world.out / "go").touch()
    run = start(world, github, permissions)
    assert ended(github, run).conclusion == "success"
    assert variables(world) == {}


@pytest.mark.parametrize(
    ("granted", "narrowed", "may_ask"),
    [
        ("{id-token: write, contents: read}", "", True),
        ("{id-token: write, contents: read}", "permissions: {contents: read}", False),
        ("{contents: read}", "", False),
    ],
)
def test_a_called_workflow_has_what_its_caller_grants(
    github: GitHub,
    stand_in: GitHubStandIn,
    world: World,
    granted: str,
    narrowed: str,
    *,
    may_ask: bool,
) -> None:
    caller = (world.caller / ".github/workflows/fleet.yml").read_text()
    world.write_caller("fleet.yml", caller.replace("{contents: read}", granted))
    world.write_called("worker.yml", f"{narrowed}\n{WORKER}")
    git(world.provider, "init", "--quiet", "--initial-branch", "main")
    git(world.provider, "commit", "--quiet", "--allow-empty", "--message", "one")
    (world.out / "go").touch()
    script = (
        'curl -s -H "Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" '
        f'"$ACTIONS_ID_TOKEN_REQUEST_URL&audience=x" > {world.out}/answer'
    )
    run = fleet(github, script=script)
    assert (run.conclusion == "success") is may_ask, stand_in.log(run.id)
    if may_ask:
        token = json.loads((world.out / "answer").read_text())["value"]
        claims = stand_in.verify_id_token(token, "x")
        path = "provider/tools/.github/workflows/worker.yml@refs/heads/main"
        assert claims["job_workflow_ref"] == path
        assert claims["job_workflow_sha"] == git(world.provider, "rev-parse", "HEAD").strip()
        assert claims["repository"] == "owner/project"


def test_a_forged_or_foreign_token_is_told(
    github: GitHub, stand_in: GitHubStandIn, world: World
) -> None:
    run = start(world, github, "write-all")
    token = ask(variables(world), "&audience=a")
    head, body, signature = token.split(".")
    with pytest.raises(ValueError, match="is for a, not for b"):
        stand_in.verify_id_token(token, "b")
    for forged in (f"{head}.{body[:-2]}.{signature}", f"{head}.{body}.x", "x", ""):
        with pytest.raises(ValueError, match="not signed by this stand-in"):
            stand_in.verify_id_token(forged)
    with GitHubStandIn(world.config()) as other, pytest.raises(ValueError, match="not signed"):
        other.verify_id_token(token)
    (world.out / "go").touch()
    ended(github, run)


def test_without_oidc_no_job_can_ask(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with GitHubStandIn(world.config(oidc=False)) as stand_in:
        enter(monkeypatch, stand_in)
        github = GitHub(find_gh(), Repository.parse("owner/project"))
        run = plain(
            world,
            github,
            "permissions: {id-token: write}\nruns-on: ubuntu-latest\n"
            "steps: [{run: 'test -z \"$ACTIONS_ID_TOKEN_REQUEST_URL\"'}]",
        )
        assert run.conclusion == "success"
        with pytest.raises(RuntimeError, match="without oidc"):
            stand_in.verify_id_token("x")
