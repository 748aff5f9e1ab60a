"""Secrets and variables through the real gh, with GitHub's limits, which gh itself does not check."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from dispatch_world import World, enter, gh, gh_json, plain
from nacl.public import PrivateKey, PublicKey, SealedBox

from gha_dispatch import GitHub, Repository, find_gh
from gha_dispatch.testing import GitHubStandIn

if TYPE_CHECKING:
    from subprocess import CompletedProcess

SECRETS = "repos/owner/project/actions/secrets"
VARIABLES = "repos/owner/project/actions/variables"
KIB = 1024


def send(method: str, address: str, body: object) -> CompletedProcess[str]:
    return gh("api", "--method", method, address, "--input", "-", given=json.dumps(body))


def set_secret(name: str, value: str) -> CompletedProcess[str]:
    return gh("secret", "set", name, "--repo", "owner/project", given=value)


def test_a_secret_is_set_listed_replaced_and_deleted(stand_in: GitHubStandIn) -> None:
    value = 'línea "1" $x\nline 2'
    assert set_secret("my_key", value).returncode == 0
    assert stand_in.secrets == {"MY_KEY": value.encode()}
    listed = gh("secret", "list", "--repo", "owner/project").stdout
    assert listed.startswith("MY_KEY\t2")
    assert set(gh_json("api", f"{SECRETS}/my_key")) == {"name", "created_at", "updated_at"}
    assert set_secret("MY_KEY", "new").returncode == 0
    assert stand_in.secrets == {"MY_KEY": b"new"}
    assert gh("secret", "delete", "MY_KEY", "--repo", "owner/project").returncode == 0
    assert stand_in.secrets == {}
    again = gh("secret", "delete", "MY_KEY", "--repo", "owner/project").stderr
    assert "HTTP 404" in again
    assert "HTTP 404" in gh("api", f"{SECRETS}/MY_KEY").stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("1X", "can only contain alphanumeric"),
        ("A-B", "can only contain alphanumeric"),
        ("github_x", "must not start with GITHUB_"),
    ],
)
@pytest.mark.parametrize("kind", ["secret", "variable"])
def test_a_name_that_github_does_not_take_is_refused(
    stand_in: GitHubStandIn, kind: str, name: str, words: str
) -> None:
    body = {"name": name, "value": "v"}
    done = set_secret(name, "v") if kind == "secret" else send("POST", VARIABLES, body)
    assert "HTTP 422" in done.stderr
    assert words in done.stderr
    assert (stand_in.secrets, stand_in.variables) == ({}, {"REGION": "eu-1"})


@pytest.mark.parametrize(("size", "is_taken"), [(48 * KIB, True), (48 * KIB + 1, False)])
def test_48_kib_are_the_most(stand_in: GitHubStandIn, size: int, *, is_taken: bool) -> None:
    assert (set_secret("A", "x" * size).returncode == 0) is is_taken
    body = {"name": "A", "value": "x" * size}
    assert (send("POST", VARIABLES, body).returncode == 0) is is_taken
    assert (send("PATCH", f"{VARIABLES}/REGION", {"value": "x" * size}).returncode == 0) is is_taken
    assert ("A" in stand_in.secrets, "A" in stand_in.variables) == (is_taken, is_taken)
    assert (len(stand_in.variables["REGION"]) == size) is is_taken


def test_100_secrets_are_the_most(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {f"S{number}": "v" for number in range(100)}
    with GitHubStandIn(world.config(secrets=secrets)) as stand_in:
        enter(monkeypatch, stand_in)
        refused = set_secret("ONE_MORE", "v").stderr
        assert "limit of 100" in refused
        assert set_secret("S7", "new").returncode == 0
        assert stand_in.secrets["S7"] == b"new"
        assert len(stand_in.secrets) == 100
        assert len(gh("secret", "list", "--repo", "owner/project").stdout.splitlines()) == 100


def sealed(key: PublicKey) -> str:
    return base64.b64encode(SealedBox(key).encrypt(b"v")).decode()


def test_only_a_sealed_box_of_the_repositorys_key_is_opened(stand_in: GitHubStandIn) -> None:
    key = gh_json("api", f"{SECRETS}/public-key")
    right = sealed(PublicKey(base64.b64decode(key["key"])))
    wrong = sealed(PrivateKey.generate().public_key)
    bodies: list[dict[str, Any]] = [
        {"encrypted_value": wrong, "key_id": key["key_id"]},
        {"encrypted_value": "v", "key_id": key["key_id"]},
        {"key_id": key["key_id"]},
        {"encrypted_value": right, "key_id": "another"},
        {},
    ]
    for body in bodies:
        assert "HTTP 422" in send("PUT", f"{SECRETS}/A", body).stderr
    assert stand_in.secrets == {}
    body = {"encrypted_value": right, "key_id": key["key_id"]}
    assert send("PUT", f"{SECRETS}/A", body).returncode == 0
    assert stand_in.secrets == {"A": b"v"}


def test_a_variable_is_set_read_renamed_and_deleted(stand_in: GitHubStandIn) -> None:
    assert send("POST", VARIABLES, {"name": "stage", "value": "a"}).returncode == 0
    again = send("POST", VARIABLES, {"name": "STAGE", "value": "b"})
    assert "Already exists" in again.stderr
    assert "HTTP 409" in again.stderr
    assert send("PATCH", f"{VARIABLES}/stage", {"value": "c"}).returncode == 0
    assert gh_json("api", f"{VARIABLES}/STAGE")["value"] == "c"
    assert stand_in.variables == {"REGION": "eu-1", "STAGE": "c"}
    assert send("PATCH", f"{VARIABLES}/STAGE", {"name": "PHASE"}).returncode == 0
    assert stand_in.variables == {"REGION": "eu-1", "PHASE": "c"}
    assert gh("api", "--method", "DELETE", f"{VARIABLES}/PHASE").returncode == 0
    for method in ("GET", "DELETE"):
        assert "HTTP 404" in gh("api", "--method", method, f"{VARIABLES}/PHASE").stderr
    assert "HTTP 404" in send("PATCH", f"{VARIABLES}/PHASE", {"value": "c"}).stderr
    for body in ({"name": "A"}, {"name": "A", "value": 1}):
        assert "HTTP 422" in send("POST", VARIABLES, body).stderr


def test_jobs_see_what_the_organization_shares_unless_the_repository_has_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = world.config(
        secrets={"KEY": "own-key"},
        variables={"REGION": "own-region"},
        organization_secrets={"KEY": "shared-key", "OTHER": "shared-other"},
        organization_variables={"REGION": "shared-region", "STAGE": "shared-stage"},
    )
    step = """
        runs-on: ubuntu-latest
        steps:
          - env:
              A: ${{ secrets.KEY }} ${{ secrets.OTHER }} ${{ vars.REGION }} ${{ vars.STAGE }}
            run: printf %s "$A" > OUT/seen
    """
    with GitHubStandIn(config) as stand_in:
        enter(monkeypatch, stand_in)
        github = GitHub(find_gh(), Repository.parse("owner/project"))
        run = plain(world, github, step.replace("OUT", str(world.out)))
        assert run.conclusion == "success"
        seen = (world.out / "seen").read_text()
        assert seen == "own-key shared-other own-region shared-stage"
        assert "shared-other" not in stand_in.log(run.id)
        assert gh_json("api", "repos/owner/project")["owner"]["type"] == "Organization"
        shared = gh_json("api", "repos/owner/project/actions/organization-secrets")
        assert [one["name"] for one in shared["secrets"]] == ["KEY", "OTHER"]
        page = gh_json("api", "repos/owner/project/actions/organization-variables?per_page=1")
        assert (page["total_count"], page["variables"][0]["value"]) == (2, "shared-region")


def test_a_repository_of_a_user_has_nothing_shared(stand_in: GitHubStandIn) -> None:
    for kind in ("secrets", "variables"):
        assert "HTTP 404" in gh("api", f"repos/owner/project/actions/organization-{kind}").stderr
    assert gh_json("api", "repos/owner/project")["owner"]["type"] == "User"
    assert (stand_in.secrets, stand_in.variables) == ({}, {"REGION": "eu-1"})


def test_variables_come_in_pages_of_ten_and_at_most_thirty(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {f"V{number:02}": "v" for number in range(35)}
    with GitHubStandIn(world.config(variables=variables)) as stand_in:
        enter(monkeypatch, stand_in)
        for query, count in (("", 10), ("?per_page=100", 30), ("?per_page=100&page=2", 5)):
            page = gh_json("api", VARIABLES + query)
            assert (page["total_count"], len(page["variables"])) == (35, count)
        every = gh("api", "--paginate", "--jq", ".variables[].name", VARIABLES).stdout
        assert every.split() == sorted(variables)
