"""What the real gh sees of the stand-in: accounts, repositories, workflows, runs, limits, refusals."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dispatch_world import CALLER, World, ended, enter, gh, gh_json, git, until

from gha_dispatch.testing import Fault, FaultKind, GitHubStandIn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gha_dispatch import GitHub

DISPATCHES = "repos/owner/project/actions/workflows/fleet.yml/dispatches"
INPUTS = {"title": "t-1", "vms": "[0]"}


@pytest.fixture
def shown(
    world: World, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[GitHubStandIn]:
    """A stand-in with the test's own settings."""
    with GitHubStandIn(world.config(**request.param)) as stand_in:
        enter(monkeypatch, stand_in)
        yield stand_in


def answer(*args: str, body: object = None) -> tuple[int, dict[str, str], Any]:
    """The status, the headers in lower case and the body of one request."""
    given = [] if body is None else ["--input", "-"]
    done = gh("api", "--include", *args, *given, given=json.dumps(body))
    head, _, rest = done.stdout.replace("\r\n", "\n").partition("\n\n")
    first, *lines = head.splitlines()
    headers = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines}
    return int(first.split()[1]), headers, json.loads(rest) if rest.strip() else None


def dispatch(inputs: dict[str, str], version: str = "2022-11-28", **more: object) -> Any:  # noqa: ANN401
    header = f"X-GitHub-Api-Version: {version}"
    body = {"ref": "main", "inputs": inputs, **more}
    return answer("--method", "POST", "--header", header, DISPATCHES, body=body)


def test_gh_knows_the_login_and_takes_its_token(stand_in: GitHubStandIn, tmp_path: Path) -> None:
    status = gh("auth", "status", "--hostname", "github.localhost")
    assert status.returncode == 0, status.stderr
    told = (status.stdout + status.stderr).replace("'", "")  # the place and the quotes vary
    assert "as stand-in" in told or "account stand-in" in told
    assert "Token scopes: gist, read:org, repo, workflow" in told
    done = gh("auth", "login", "--hostname", "github.localhost", "--with-token", given="wrong")
    assert "HTTP 401: Bad credentials" in done.stderr
    hosts = Path(stand_in.environment["GH_CONFIG_DIR"]) / "hosts.yml"
    hosts.unlink()
    login = ("auth", "login", "--hostname", "github.localhost", "--with-token")
    assert gh(*login, given=stand_in.token).returncode == 0
    assert gh_json("api", "user")["login"] == "stand-in"


@pytest.mark.parametrize(
    ("shown", "visibility"),
    [({}, "public"), ({"visibility": "private", "is_fork": True}, "private")],
    indirect=["shown"],
)
def test_a_repository_is_shown_as_it_is(shown: GitHubStandIn, visibility: str) -> None:
    fields = "nameWithOwner,isPrivate,isFork,isArchived,defaultBranchRef,viewerPermission"
    assert gh_json("repo", "view", "owner/project", "--json", fields) == {
        "nameWithOwner": "owner/project",
        "isPrivate": visibility == "private",
        "isFork": shown.config.is_fork,
        "isArchived": False,
        "defaultBranchRef": {"name": "main"},
        "viewerPermission": "ADMIN",
    }
    body = gh_json("api", "repos/Owner/PROJECT")
    assert body["visibility"] == visibility
    assert body["private"] is (visibility == "private")
    assert body["fork"] is shown.config.is_fork
    assert body["permissions"]["admin"]
    missing = gh("repo", "view", "owner/nosuch").stderr
    assert "Could not resolve to a Repository with the name 'owner/nosuch'" in missing


def test_gh_finds_a_repositorys_page(stand_in: GitHubStandIn) -> None:
    browsed = gh("browse", "--no-browser", "--repo", "owner/project")  # asks by HEAD
    assert browsed.stdout.strip() == "http://github.localhost/owner/project", browsed.stderr


def test_workflows_are_listed_viewed_disabled_and_enabled(
    stand_in: GitHubStandIn, world: World
) -> None:
    world.write_caller("broken.yml", "jobs: [")
    listed = gh("workflow", "list", "--all", "--repo", "owner/project").stdout.splitlines()
    assert sorted(line.rpartition("\t")[0] for line in listed) == [
        ".github/workflows/broken.yml\tactive",
        "caller\tactive",
    ]
    yaml = gh("workflow", "view", "fleet.yml", "--yaml", "--repo", "owner/project").stdout
    assert yaml.strip() == CALLER.strip()
    assert gh("workflow", "disable", "fleet.yml", "--repo", "owner/project").returncode == 0
    state = gh_json("api", "repos/owner/project/actions/workflows/fleet.yml")["state"]
    assert state == "disabled_manually"
    status, _, body = dispatch(INPUTS)
    assert status == 422
    assert body["message"] == "Cannot trigger a 'workflow_dispatch' on a disabled workflow"
    assert gh("workflow", "enable", "caller", "--repo", "owner/project").returncode == 0
    assert dispatch(INPUTS)[0] == 204


def test_gh_runs_watches_views_and_lists_a_workflow(
    stand_in: GitHubStandIn, github: GitHub
) -> None:
    repository = ("--repo", "owner/project")
    started = gh("workflow", "run", "caller", *repository, "-f", "title=t-1", "-f", "vms=[0]")
    assert started.returncode == 0, started.stderr
    (run,) = stand_in.runs()
    assert started.stdout.strip() in {"", run.url}  # gh tells it from 2.87 on
    watched = gh("run", "watch", str(run.id), "--interval", "1", "--exit-status", *repository)
    assert watched.returncode == 0, watched.stderr
    viewed = gh("run", "view", str(run.id), *repository)
    assert "worker (0) / run" in viewed.stdout
    assert run.url in viewed.stdout
    fields = "databaseId,displayTitle,status,conclusion,workflowName,headBranch,event,url"
    (listed,) = gh_json("run", "list", "--workflow", "fleet.yml", *repository, "--json", fields)
    assert listed == {
        "databaseId": run.id,
        "displayTitle": "fleet t-1",
        "status": "completed",
        "conclusion": "success",
        "workflowName": "caller",
        "headBranch": "main",
        "event": "workflow_dispatch",
        "url": run.url,
    }
    cancelled = gh("run", "cancel", str(run.id), *repository)
    assert "Cannot cancel a workflow run that is completed" in cancelled.stderr


def test_gh_shows_a_runs_steps_and_logs_without_secrets(
    stand_in: GitHubStandIn, github: GitHub
) -> None:
    github.secrets.set("KEY", "a-secret-value")
    inputs = {"title": "t", "vms": "[0, 1]", "script": "echo vm $VM has $KEY; exit $VM"}
    run = github.workflow("fleet.yml").dispatch(inputs, marker="t")
    assert ended(github, run.id).conclusion == "failure"
    view = ("run", "view", str(run.id), "--repo", "owner/project")
    for flag, seen, unseen in (("--log", "vm 0 has ***", "?"), ("--log-failed", "vm 1", "vm 0")):
        log = gh(*view, flag).stdout
        assert "worker (1) / run\t" in log
        assert seen in log
        assert unseen not in log
        assert "a-secret-value" not in log
    (first, second) = gh_json(*view, "--json", "jobs")["jobs"]
    for job, conclusion in ((first, "success"), (second, "failure")):
        steps = {step["name"]: step["conclusion"] for step in job["steps"]}
        assert steps["Set up job"] == "success"
        assert steps['exec bash -c "$SCRIPT"'] == conclusion
    address = f"repos/owner/project/actions/jobs/{second['databaseId']}/logs"
    assert "vm 1 has ***" in gh("api", address).stdout


def test_what_stopped_a_job_is_shown_beside_it(stand_in: GitHubStandIn, world: World) -> None:
    world.write_caller(
        "odd.yml", "on: workflow_dispatch\njobs: {a: {runs-on: mainframe, steps: [{run: x}]}}\n"
    )
    gh("workflow", "run", "odd.yml", "--repo", "owner/project", "--ref", "main")
    until(lambda: stand_in.runs()[0].status == "completed")
    viewed = gh("run", "view", str(stand_in.runs()[0].id), "--repo", "owner/project")
    assert "no runner has the label mainframe" in viewed.stdout


@pytest.mark.parametrize("shown", [{"labels": ("mainframe", "self-hosted")}], indirect=True)
def test_labels_of_self_hosted_runners_are_known_when_they_are_given(
    shown: GitHubStandIn, world: World
) -> None:
    world.write_caller(
        "odd.yml",
        "on: workflow_dispatch\n"
        "jobs: {a: {runs-on: [self-hosted, mainframe], steps: [{run: 'true'}]}}\n",
    )
    gh("workflow", "run", "odd.yml", "--repo", "owner/project", "--ref", "main")
    until(lambda: shown.runs()[0].status == "completed")
    assert shown.runs()[0].conclusion == "success", shown.log(shown.runs()[0].id)


def test_runs_are_filtered_and_paged(stand_in: GitHubStandIn, github: GitHub) -> None:
    for number in (1, 2, 3):
        dispatch({"title": f"t-{number}", "vms": "[]"})
    until(lambda: all(run.status == "completed" for run in stand_in.runs()))
    runs = "repos/owner/project/actions/runs"

    def found(query: str) -> int:
        return int(gh_json("api", f"{runs}?{query}")["total_count"])

    today, tomorrow = (
        time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86400)) for days in (0, 1)
    )
    for query in ("", "status=failure", "status=completed", "event=workflow_dispatch"):
        assert found(query) == 3, query
    for query in ("branch=main", "actor=stand-in", f"created=>={today}", f"created={today}"):
        assert found(query) == 3, query
    assert found(f"created={today}T00:00:00Z..{tomorrow}") == 3
    for query in ("status=queued", "event=push", "branch=b", f"created=>{tomorrow}", "actor=x"):
        assert found(query) == 0, query
    _, headers, body = answer(f"{runs}?per_page=2")
    assert [run["display_title"] for run in body["workflow_runs"]] == ["fleet t-3", "fleet t-2"]
    assert headers["link"] == f'<http://api.github.localhost/{runs}?per_page=2&page=2>; rel="next"'
    pages = gh("api", "--paginate", "--jq", ".workflow_runs | length", f"{runs}?per_page=2")
    assert pages.stdout.split() == ["2", "1"]


@pytest.mark.parametrize(
    ("version", "details", "status"),
    [
        ("2022-11-28", {}, 204),
        ("2022-11-28", {"return_run_details": True}, 200),
        ("2026-03-10", {}, 200),
    ],
)
def test_a_dispatch_tells_its_run_as_the_version_has_it(
    stand_in: GitHubStandIn, version: str, details: dict[str, bool], status: int
) -> None:
    seen, headers, body = dispatch(INPUTS, version, **details)
    assert seen == status
    assert headers["x-github-api-version-selected"] == version
    (run,) = stand_in.runs()
    assert body is None or body["workflow_run_id"] == run.id
    assert (body is None) is (status == 204)


def test_an_unknown_version_is_refused(stand_in: GitHubStandIn) -> None:
    status, _, body = dispatch(INPUTS, "v3")
    assert status == 400
    assert '"v3", is not a supported version' in body["message"]
    assert stand_in.runs() == []


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({f"i{number}": "x" for number in range(26)}, "no more than 25 properties"),
        ({"title": "t", "vms": "x" * 65_536}, "inputs are too large"),
        ({**INPUTS, "zzz": "1", "aaa": "2"}, 'Unexpected inputs provided: ["aaa", "zzz"]'),
        ({"title": "t"}, "Required input 'vms' not provided"),
        ({"title": "t", "vms": 1}, "every value is a string"),
    ],
)
def test_inputs_that_github_does_not_take_are_refused(
    stand_in: GitHubStandIn, inputs: dict[str, Any], words: str
) -> None:
    status, _, body = dispatch(inputs)
    assert (status, stand_in.runs()) == (422, [])
    assert words in body["message"]


def test_a_workflow_that_only_another_branch_has_is_registered_but_not_dispatched(
    stand_in: GitHubStandIn, world: World
) -> None:
    git(world.caller, "checkout", "--quiet", "-b", "draft")
    world.write_caller("draft.yml", "on: workflow_dispatch\njobs: {a: {runs-on: ubuntu-latest}}\n")
    git(world.caller, "checkout", "--quiet", "main")
    workflow = "repos/owner/project/actions/workflows/draft.yml"
    assert gh_json("api", workflow)["path"] == ".github/workflows/draft.yml"
    for ref in ("main", "draft"):
        status, _, body = answer("--method", "POST", f"{workflow}/dispatches", body={"ref": ref})
        assert status == 422
        assert body["message"] == "Workflow does not have 'workflow_dispatch' trigger"
    git(world.caller, "branch", "-D", "draft")
    assert gh_json("api", workflow)["state"] == "active"
    assert gh_json("api", "repos/owner/project/actions/workflows")["total_count"] == 2


@pytest.mark.parametrize("ref", ["nosuch", "main~1", "main^{tree}", "main:.github", "@{0}", ""])
def test_only_a_branch_or_a_tag_is_a_ref(stand_in: GitHubStandIn, world: World, ref: str) -> None:
    world.write_caller("another.yml", CALLER)
    body = {"ref": ref, "inputs": INPUTS}
    status, _, refused = answer("--method", "POST", DISPATCHES, body=body)
    assert (status, refused["message"]) == (422, f"No ref found for: {ref}")


def test_ids_of_runs_grow(stand_in: GitHubStandIn) -> None:
    for _ in range(3):
        dispatch({"title": "t", "vms": "[]"})
    ids = [run.id for run in stand_in.runs()]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 3


def test_nothing_is_dispatched_where_actions_are_disabled(stand_in: GitHubStandIn) -> None:
    permissions = "repos/owner/project/actions/permissions"
    assert gh_json("api", permissions)["enabled"] is True
    stand_in.disable_actions()
    assert gh_json("api", permissions) == {"enabled": False}
    status, _, body = dispatch(INPUTS)
    assert (status, body["message"]) == (422, "Actions has been disabled for this repository.")
    gh("api", "--method", "PUT", permissions, "-F", "enabled=true")
    assert dispatch(INPUTS)[0] == 204


def test_every_answer_tells_of_the_rate_limit_and_none_is_given_beyond_it(
    stand_in: GitHubStandIn,
) -> None:
    _, first, _ = answer("user")
    _, second, _ = answer("user")
    assert first["x-ratelimit-limit"] == "5000"
    assert int(first["x-ratelimit-remaining"]) - int(second["x-ratelimit-remaining"]) == 1
    stand_in.exhaust_rate_limit(30)
    status, headers, body = answer("user")
    assert (status, body["message"]) == (403, "API rate limit exceeded for user ID 1.")
    assert headers["x-ratelimit-remaining"] == "0"
    assert 0 < int(headers["x-ratelimit-reset"]) - time.time() < 32
    assert gh_json("api", "rate_limit")["resources"]["core"]["remaining"] == 0
    stand_in.exhaust_rate_limit(0)
    assert answer("user")[0] == 200


def test_a_secondary_limit_and_single_sign_on_come_in_githubs_words(
    stand_in: GitHubStandIn,
) -> None:
    stand_in.inject(Fault.busy("GET", "/user$", retry_after=7))
    status, headers, body = answer("user")
    assert (status, headers["retry-after"]) == (403, "7")
    assert body["message"].startswith("You have exceeded a secondary rate limit")
    stand_in.inject(Fault.single_sign_on("GET", "/user$", "https://github.localhost/orgs/o/sso"))
    status, headers, body = answer("user")
    assert headers["x-github-sso"] == "required; url=https://github.localhost/orgs/o/sso"
    assert (status, "SAML enforcement" in body["message"]) == (403, True)
    stand_in.inject(Fault(FaultKind.REFUSE, "GET", "/user$", 429, message="Slow down"))
    assert answer("user")[2] == {"message": "Slow down"}
    assert answer("user")[0] == 200
    assert stand_in.requests()[-4:] == ["GET /user"] * 4


READ_RUNS, READ_SECRETS = "repos/owner/project/actions/runs", "repos/owner/project/actions/secrets"
PUBLIC, PRIVATE = {"visibility": "public"}, {"visibility": "private"}


@pytest.mark.parametrize(
    ("shown", "reading", "writing"),
    [
        ({**PUBLIC, "scopes": "repo"}, 200, 204),
        ({**PUBLIC, "scopes": "public_repo"}, 200, 204),
        ({**PUBLIC, "scopes": "gist"}, 200, 403),
        ({**PRIVATE, "scopes": "gist, public_repo"}, 404, 404),
        ({**PRIVATE, "scopes": "repo"}, 200, 204),
        ({**PRIVATE, "scopes": "repo", "role": "read"}, 200, 403),
        ({**PUBLIC, "scopes": "repo", "role": "write"}, 200, 204),
        ({**PRIVATE, "scopes": None}, 200, 204),
        ({**PRIVATE, "scopes": None, "permissions": {"actions": "read"}}, 200, 403),
        ({**PRIVATE, "scopes": None, "permissions": {"actions": "write"}}, 200, 204),
        ({**PRIVATE, "scopes": None, "permissions": {"contents": "read"}}, 403, 403),
        ({**PUBLIC, "is_archived": True}, 200, 403),
    ],
    indirect=["shown"],
)
def test_a_token_does_what_its_scopes_permissions_and_role_allow(
    shown: GitHubStandIn, reading: int, writing: int
) -> None:
    status, headers, _ = answer(READ_RUNS)
    assert status == reading
    scopes = shown.config.scopes
    assert headers.get("x-oauth-scopes") == scopes
    assert headers.get("x-accepted-oauth-scopes") == (None if scopes is None else "repo")
    accepted = headers.get("x-accepted-github-permissions")
    assert accepted == (None if scopes is not None else "actions=read")
    assert dispatch(INPUTS)[0] == writing


@pytest.mark.parametrize("shown", [{"role": "write"}], indirect=True)
def test_only_an_admin_sees_whether_actions_are_enabled(shown: GitHubStandIn) -> None:
    assert answer("repos/owner/project/actions/permissions")[0] == 403
    assert answer(READ_SECRETS)[0] == 200


def test_without_a_token_nothing_is_answered(
    stand_in: GitHubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GH_TOKEN", "ghp_of_someone_else")
    status, headers, body = answer("user")
    assert (status, body["message"]) == (401, "Bad credentials")
    assert "x-oauth-scopes" not in headers


def test_a_query_that_is_not_known_is_an_error(stand_in: GitHubStandIn) -> None:
    for query, words in (
        ("{viewer{email}}", "Field 'email' of 'viewer' is not known"),
        ("{organization{id}}", "Field 'organization' doesn't exist"),
        ("{viewer{login}", "ends too early"),
        ("{viewer{...x}}", "Fragment x is not known"),
        ("#", "Unexpected '#'"),
    ):
        assert words in gh("api", "graphql", "-f", f"query={query}").stderr
    literal = (
        'query { me: viewer { who: login } repository(owner: "owner", name: "project") { id } }'
    )
    found = gh_json("api", "graphql", "-f", f"query={literal}")["data"]
    assert found == {"me": {"who": "stand-in"}, "repository": {"id": "R_1"}}


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /graphql HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nContent-Length: much\r\n\r\n",
    ],
)
def test_a_request_that_breaks_off_is_not_answered_and_leaves_no_traceback(
    stand_in: GitHubStandIn, capfd: pytest.CaptureFixture[str], sent: bytes
) -> None:
    settings = Path(stand_in.environment["GH_CONFIG_DIR"], "config.yml").read_text("utf-8")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(json.loads(settings)["http_unix_socket"]))
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""
    assert capfd.readouterr().err == ""
    assert gh_json("api", "user")["login"] == "stand-in"
