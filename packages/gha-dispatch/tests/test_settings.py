"""Secrets and variables: set, listed, overwritten, deleted, and never in an argument list."""

from __future__ import annotations

import re

import pytest
from dispatch_world import World, enter
from hypothesis import example, given
from hypothesis import strategies as st

from gha_dispatch import (
    GitHub,
    GitHubUnavailableError,
    Repository,
    SingleSignOnError,
    find_gh,
)
from gha_dispatch._names import check
from gha_dispatch.testing import Fault, FaultKind, GitHubStandIn


def impatient(github: GitHub) -> GitHub:
    return GitHub(github.gh, github.repository, sleep=lambda _seconds: None)


def test_a_variable_is_set_overwritten_listed_and_deleted(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    value = ' "a" $b \\ é\n\n'
    github.variables.set("KEY", "first")
    github.variables.set("KEY", value)
    assert stand_in.variables["KEY"] == value
    assert github.variables.values() == {"KEY": value, "REGION": "eu-1"}
    assert github.variables.names() == ["KEY", "REGION"]
    github.variables.delete("KEY")
    github.variables.delete("KEY")
    assert github.variables.names() == ["REGION"]


def test_more_variables_than_a_page_holds_are_all_listed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {f"V{number:03}": str(number) for number in range(61)}
    with GitHubStandIn(world.config(variables=variables)) as stand_in:
        enter(monkeypatch, stand_in)
        github = GitHub(find_gh(), Repository.parse("owner/project"))
        assert github.variables.values() == variables


def test_a_secret_is_deleted_once_and_again(github: GitHub, stand_in: GitHubStandIn) -> None:
    github.secrets.set("KEY", "value")
    github.secrets.set("OTHER", "value")
    github.secrets.delete("key")
    github.secrets.delete("KEY")
    assert list(stand_in.secrets) == github.secrets.names() == ["OTHER"]


@pytest.mark.parametrize("kind", [FaultKind.LOSE, FaultKind.BURY])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/actions/variables$"),
        ("PATCH", "/actions/variables/REGION$"),
        ("DELETE", "/actions/variables/REGION$"),
        ("PUT", "/actions/secrets/KEY$"),
        ("GET", "/actions/secrets/public-key$"),
        ("DELETE", "/actions/secrets/KEY$"),
    ],
)
def test_a_lost_answer_is_asked_for_again(
    github: GitHub, stand_in: GitHubStandIn, kind: FaultKind, method: str, path: str
) -> None:
    stand_in.inject(Fault(kind, method, path))
    patient = impatient(github)
    patient.variables.set("NEW", "1")
    patient.variables.set("REGION", "eu-2")
    patient.secrets.set("KEY", "value")
    assert dict(stand_in.variables) == {"NEW": "1", "REGION": "eu-2"}
    assert stand_in.secrets == {"KEY": b"value"}
    patient.variables.delete("REGION")
    patient.secrets.delete("KEY")
    assert dict(stand_in.variables) == {"NEW": "1"}
    assert stand_in.secrets == {}


def test_what_an_organization_shares_is_told_apart_from_the_repositorys_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {f"V{number:03}": str(number) for number in range(61)}
    secrets = {f"S{number:03}": "a-value" for number in range(101)}
    config = world.config(organization_secrets=secrets, organization_variables=variables)
    with GitHubStandIn(config) as stand_in:
        enter(monkeypatch, stand_in)
        github = GitHub(find_gh(), Repository.parse("owner/project"))
        assert github.secrets.inherited() == sorted(secrets)
        assert github.variables.inherited() == variables
        assert (github.secrets.names(), github.variables.names()) == ([], ["REGION"])


@pytest.mark.parametrize("status", [None, 403, 404])
def test_a_repository_of_a_user_or_out_of_reach_inherits_nothing(
    github: GitHub, stand_in: GitHubStandIn, status: int | None
) -> None:
    if status is not None:
        stand_in.inject(Fault(FaultKind.REFUSE, "GET", "/organization-", status, times=2))
    assert (github.secrets.inherited(), github.variables.inherited()) == ([], {})
    assert len(stand_in.requests()) == 2


def test_a_single_sign_on_is_not_taken_for_nothing_inherited(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    stand_in.inject(Fault.single_sign_on("GET", "/organization-", "https://sso.example"))
    with pytest.raises(SingleSignOnError):
        github.secrets.inherited()


def test_trouble_that_stays_is_told(github: GitHub, stand_in: GitHubStandIn) -> None:
    stand_in.inject(Fault(FaultKind.REFUSE, "PUT", "/secrets/KEY$", 502, times=4))
    with pytest.raises(GitHubUnavailableError, match="HTTP 502"):
        impatient(github).secrets.set("KEY", "value")


@pytest.mark.parametrize("name", ["1X", "GITHUB_X", "A-B", "", "../x", "É"])
def test_a_name_that_github_does_not_take_is_refused_before_it_is_sent(
    github: GitHub, stand_in: GitHubStandIn, name: str
) -> None:
    for settings in (github.secrets, github.variables):
        with pytest.raises(ValueError, match=f"^{re.escape(repr(name))} is no name"):
            settings.set(name, "value")
        with pytest.raises(ValueError, match="is no name"):
            settings.delete(name)
    assert (stand_in.secrets, dict(stand_in.variables)) == ({}, {"REGION": "eu-1"})


def test_a_value_may_be_as_large_as_github_takes_and_no_larger(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    largest = "é" * (24 * 1024)
    github.secrets.set("KEY", largest)
    github.variables.set("KEY", largest)
    assert stand_in.secrets["KEY"].decode() == stand_in.variables["KEY"] == largest
    for settings in (github.secrets, github.variables):
        with pytest.raises(ValueError, match="larger than GitHub's 49152 bytes"):
            settings.set("KEY", largest + "x")


def test_a_value_that_is_no_text_is_refused_without_showing_it(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    for settings in (github.secrets, github.variables):
        with pytest.raises(ValueError, match="KEY is no valid text") as caught:
            settings.set("KEY", "a\udcffb")
        assert caught.value.__context__ is None  # str.encode's own would carry the value
    assert stand_in.requests() == []


@given(name=st.text(max_size=12))
@example("a\n")
@example("Github_x")
def test_a_name_that_passes_is_one_path_segment_and_not_githubs(name: str) -> None:
    try:
        check("secret", name)
    except ValueError:
        return
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII)
    assert not name.upper().startswith("GITHUB_")
