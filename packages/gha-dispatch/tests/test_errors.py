"""Every error, provoked through the real gh, with the whole sentence that a user reads.

`pytest -rP` prints them as a table.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dispatch_world import World, ended, enter

from gha_dispatch import (
    ActionsDisabledError,
    DispatchError,
    Gh,
    GhNotFoundError,
    GhTooOldError,
    GitHub,
    GitHubUnavailableError,
    InputsRejectedError,
    NetworkError,
    NoRepositoryError,
    NotAuthenticatedError,
    PermissionDeniedError,
    RateLimitedError,
    RefNotFoundError,
    Repository,
    RepositoryNotFoundError,
    RequestRejectedError,
    RunFinishedError,
    RunNotFoundError,
    SingleSignOnError,
    UnclearDispatchError,
    WaitTimeoutError,
    WorkflowDisabledError,
    WorkflowNotDispatchableError,
    WorkflowNotFoundError,
    find_gh,
)
from gha_dispatch.testing import Fault, FaultKind, GitHubStandIn

if TYPE_CHECKING:
    from collections.abc import Callable

INPUTS = {"title": "t-1", "vms": "[0]"}
REPOSITORY = "github.localhost/owner/project"


def refuse(
    method: str, path: str, status: int, message: str = "No", *headers: tuple[str, str]
) -> Fault:
    return Fault(FaultKind.REFUSE, method, path, status, 4, headers, message)


def dispatch(
    inputs: dict[str, str] = INPUTS,
    *,
    file: str = "fleet.yml",
    ref: str | None = None,
    marker: str | None = "t-1",
) -> Callable[[GitHub], object]:
    return lambda github: github.workflow(file).dispatch(inputs, ref, marker)


@dataclass(frozen=True)
class Case:
    """What is asked of which GitHub, and what the user reads."""

    name: str
    ask: Callable[[GitHub], object]
    error: type[DispatchError]
    sentence: str
    config: dict[str, Any] = field(default_factory=dict)
    spoil: Fault | Callable[[GitHubStandIn], None] | None = None


def login(github: GitHub) -> object:
    return github.check_login()


def set_secret(github: GitHub) -> object:
    github.secrets.set("KEY", "value")
    return None


def forget_workflow(stand_in: GitHubStandIn) -> None:
    stand_in.inject(refuse("POST", "/dispatches$", 404, "Not Found"))
    stand_in.inject(refuse("GET", r"actions/workflows/fleet\.yml$", 404, "Not Found"))


WRITE_ACCESS = (
    "Use an account with write access to the repository; `gh auth status --hostname "
    "github.localhost` shows which one is logged in."
)
CASES = [
    Case(
        "single sign-on",
        dispatch(),
        SingleSignOnError,
        "The organization on github.localhost requires single sign-on for this login. Open "
        "https://github.com/orgs/acme/sso?authorization_request=A1B2 in a browser, then try again.",
        spoil=refuse(
            "POST",
            "/dispatches$",
            403,
            "Resource protected by organization SAML enforcement.",
            (
                "X-GitHub-SSO",
                "required; url=https://github.com/orgs/acme/sso?authorization_request=A1B2",
            ),
        ),
    ),
    Case(
        "single sign-on without an address",
        dispatch(),
        SingleSignOnError,
        "The organization on github.localhost requires single sign-on for this login. Run `gh auth "
        "refresh --hostname github.localhost` and grant it access to the organization, then try "
        "again.",
        spoil=refuse(
            "POST", "/dispatches$", 403, "Resource protected by organization SAML enforcement."
        ),
    ),
    Case(
        "a missing scope",
        dispatch(),
        PermissionDeniedError,
        "GitHub does not let this login dispatch fleet.yml: Must have admin rights to Repository. "
        "The login lacks the scope repo. Run `gh auth refresh --hostname github.localhost --scopes "
        "repo` and try again.",
        {"scopes": "gist"},
    ),
    Case(
        "a missing scope, where gh shows no headers",
        set_secret,
        PermissionDeniedError,
        "GitHub does not let this login set the secret KEY: Must have admin rights to Repository. "
        "The login lacks the scope repo. Run `gh auth refresh --hostname github.localhost --scopes "
        "repo` and try again.",
        {"scopes": "gist"},
    ),
    Case(
        "a missing permission",
        dispatch(),
        PermissionDeniedError,
        "GitHub does not let this login dispatch fleet.yml: Resource not accessible by personal "
        "access token. The token lacks the permission actions=write. Grant it in the token's "
        "settings on https://github.localhost/settings/personal-access-tokens, in a workflow under "
        "`permissions`, or log in with `gh auth login --hostname github.localhost`.",
        {"scopes": None, "permissions": {"actions": "read", "contents": "read"}},
    ),
    Case(
        "a missing permission, where gh shows no headers",
        set_secret,
        PermissionDeniedError,
        "GitHub does not let this login set the secret KEY: Resource not accessible by personal "
        "access token. The token lacks the permission secrets=write. Grant it in the token's "
        "settings on https://github.localhost/settings/personal-access-tokens, in a workflow under "
        "`permissions`, or log in with `gh auth login --hostname github.localhost`.",
        {"scopes": None, "permissions": {"secrets": "read"}},
    ),
    Case(
        "a role that is too low",
        dispatch(),
        PermissionDeniedError,
        "GitHub does not let this login dispatch fleet.yml: Must have admin rights to Repository. "
        + WRITE_ACCESS,
        {"role": "read"},
    ),
    Case(
        "an archived repository",
        dispatch(),
        PermissionDeniedError,
        "GitHub does not let this login dispatch fleet.yml: Repository was archived so is "
        "read-only. `gh repo unarchive` brings it back.",
        spoil=refuse("POST", "/dispatches$", 403, "Repository was archived so is read-only."),
    ),
    Case(
        "a refusal that looks like nothing there",
        dispatch(),
        PermissionDeniedError,
        f"GitHub does not let this login dispatch fleet.yml: Not Found. {WRITE_ACCESS}",
        spoil=refuse("POST", "/dispatches$", 404, "Not Found"),
    ),
    Case(
        "a repository that is not to be seen",
        lambda github: GitHub(github.gh, Repository.parse("owner/other")).about(),
        RepositoryNotFoundError,
        "The repository github.localhost/owner/other does not exist or this login cannot see it. "
        "Check its name, and with `gh auth status --hostname github.localhost` which account is "
        "logged in.",
    ),
    Case(
        "a private repository without the scope for it",
        dispatch(),
        RepositoryNotFoundError,
        f"The repository {REPOSITORY} does not exist or this login cannot see it. Check its name, "
        "and with `gh auth status --hostname github.localhost` which account is logged in. A "
        "private repository needs the scope repo, which this login lacks. Run `gh auth refresh "
        "--hostname github.localhost --scopes repo` and try again.",
        {"visibility": "private", "scopes": "gist, workflow"},
    ),
    Case(
        "a repository that was renamed",
        dispatch(ref="main"),
        RepositoryNotFoundError,
        f"The repository {REPOSITORY} was renamed or moved. `gh repo view {REPOSITORY}` shows its "
        "new name: use that.",
        spoil=refuse(
            "POST",
            "/dispatches$",
            307,
            "Moved Permanently",
            ("Location", "http://api.github.localhost/repositories/1/actions/dispatches"),
        ),
    ),
    Case(
        "Actions disabled",
        dispatch(),
        ActionsDisabledError,
        f"GitHub Actions is disabled for {REPOSITORY}. Allow it on "
        f"https://{REPOSITORY}/settings/actions and try again.",
        spoil=GitHubStandIn.disable_actions,
    ),
    Case(
        "Actions not enabled in a fork",
        dispatch(),
        ActionsDisabledError,
        f"GitHub Actions is not enabled for {REPOSITORY}, as for every new fork. Enable it on "
        f"https://{REPOSITORY}/actions and try again.",
        {"is_fork": True},
        lambda stand_in: stand_in.disable_workflow("fleet.yml", "disabled_fork"),
    ),
    Case(
        "a workflow that is switched off",
        dispatch(),
        WorkflowDisabledError,
        f"The workflow fleet.yml of {REPOSITORY} is disabled. Run `gh workflow enable fleet.yml "
        f"--repo {REPOSITORY}` and try again.",
        spoil=lambda stand_in: stand_in.disable_workflow("fleet.yml"),
    ),
    Case(
        "a missing workflow",
        dispatch(file="nosuch.yml"),
        WorkflowNotFoundError,
        f"{REPOSITORY} has no workflow nosuch.yml on its default branch. Commit "
        ".github/workflows/nosuch.yml there and push it.",
    ),
    Case(
        "a workflow that GitHub has not read yet",
        dispatch(),
        WorkflowNotFoundError,
        f"{REPOSITORY} has .github/workflows/fleet.yml on its default branch, but GitHub does not "
        "know it as a workflow. Wait a few seconds if it was pushed just now, else look on "
        f"https://{REPOSITORY}/actions why.",
        spoil=forget_workflow,
    ),
    Case(
        "a workflow without the trigger",
        dispatch({}, file="ci.yml"),
        WorkflowNotDispatchableError,
        f"{REPOSITORY} cannot start ci.yml: Workflow does not have 'workflow_dispatch' trigger. "
        "Give the workflow an `on: workflow_dispatch`, on the default branch and on the ref that "
        "is to run.",
    ),
    Case(
        "an unknown input",
        dispatch({**INPUTS, "zzz": "1"}),
        InputsRejectedError,
        'GitHub refused the inputs of fleet.yml: Unexpected inputs provided: ["zzz"]. Compare them '
        "with the inputs that the workflow file declares on the ref that is to run.",
    ),
    Case(
        "an unknown input with a telling name",
        dispatch({**INPUTS, "workflow_dispatch_disabled": "1"}),
        InputsRejectedError,
        "GitHub refused the inputs of fleet.yml: Unexpected inputs provided: "
        '["workflow_dispatch_disabled"]. Compare them with the inputs that the workflow file '
        "declares on the ref that is to run.",
    ),
    Case(
        "a missing input",
        dispatch({"title": "t-1"}),
        InputsRejectedError,
        "GitHub refused the inputs of fleet.yml: Required input 'vms' not provided. Compare them "
        "with the inputs that the workflow file declares on the ref that is to run.",
    ),
    Case(
        "a ref that does not exist",
        dispatch(ref="noref"),
        RefNotFoundError,
        f"{REPOSITORY} has no branch or tag noref. Push it, or leave the ref out to use the "
        "default branch.",
    ),
    Case(
        "a commit that does not exist",
        lambda github: github.resolve("noref"),
        RefNotFoundError,
        f"{REPOSITORY} has no branch or tag noref. Push it, or leave the ref out to use the "
        "default branch.",
    ),
    Case(
        "a run that does not exist",
        lambda github: github.run(7),
        RunNotFoundError,
        f"{REPOSITORY} has no workflow run 7. `gh run list --repo {REPOSITORY}` shows those it "
        "has.",
    ),
    Case(
        "a rate limit with Retry-After",
        dispatch(),
        RateLimitedError,
        "GitHub limits the rate of this login until TIME UTC. Wait 600 s and try again.",
        spoil=refuse(
            "POST",
            "/dispatches$",
            403,
            "You have exceeded a secondary rate limit.",
            ("Retry-After", "600"),
        ),
    ),
    Case(
        "a rate limit that names no time",
        login,
        RateLimitedError,
        "GitHub limits the rate of this login until TIME UTC. Wait 60 s and try again.",
        spoil=refuse("GET", "/user$", 429, "You have exceeded a secondary rate limit."),
    ),
    Case(
        "GitHub is down",
        login,
        GitHubUnavailableError,
        "github.localhost is in trouble (HTTP 503). Ask who runs github.localhost, then try again.",
        spoil=refuse("GET", "/user$", 503, "Service unavailable"),
    ),
    Case(
        "a dispatch that nobody confirms",
        dispatch(),
        UnclearDispatchError,
        f"Whether fleet.yml was started in {REPOSITORY} is not confirmed: the dispatch got no "
        "clear answer (HTTP 502), and no run with 't-1' in its title was found. Look for it with "
        f"`gh run list --repo {REPOSITORY} --workflow fleet.yml` before starting another.",
        spoil=refuse("POST", "/dispatches$", 502, "Server Error"),
    ),
    Case(
        "a dispatch that nobody confirms and nobody can look for",
        dispatch(marker=None),
        UnclearDispatchError,
        f"Whether fleet.yml was started in {REPOSITORY} is not confirmed: the dispatch got no "
        "clear answer (HTTP 502), and it had no marker to look for. Look for it with "
        f"`gh run list --repo {REPOSITORY} --workflow fleet.yml` before starting another.",
        spoil=refuse("POST", "/dispatches$", 502, "Server Error"),
    ),
    Case(
        "any other refusal",
        login,
        RequestRejectedError,
        "GitHub refused to read its own account with status 418: I'm a teapot. Correct the "
        "request; `gh api` shows the whole answer.",
        spoil=refuse("GET", "/user$", 418, "I'm a teapot."),
    ),
]


def hasty(gh: Gh) -> GitHub:
    """A client that never waits long, and not by the clock on the wall."""
    repository = Repository.parse("owner/project")
    return GitHub(gh, repository, lookup=0.0, patience=30.0, sleep=lambda _seconds: None)


def sentence_of(ask: Callable[[], object], error: type[DispatchError]) -> str:
    with pytest.raises(error) as caught:
        ask()
    assert type(caught.value) is error
    print(f"{error.__name__:29} {caught.value}")  # noqa: T201 -- the table of pytest -rP
    return str(caught.value)


@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
def test_a_refusal_says_what_happened_and_what_to_do(
    world: World, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    world.write_caller("ci.yml", "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: []}}\n")
    with GitHubStandIn(world.config(**case.config)) as stand_in:
        enter(monkeypatch, stand_in)
        if isinstance(case.spoil, Fault):
            stand_in.inject(case.spoil)
        elif case.spoil is not None:
            case.spoil(stand_in)
        github = hasty(find_gh())
        sentence = sentence_of(lambda: case.ask(github), case.error)
        assert re.sub(r"20\d\d(-\d\d){2} \d\d(:\d\d){2}", "TIME", sentence) == case.sentence
        assert stand_in.runs() == []


def test_no_login_names_the_command(
    github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Path(os.environ["GH_CONFIG_DIR"], "config.yml")
    (tmp_path / "config.yml").write_text(config.read_text())
    monkeypatch.setenv("GH_CONFIG_DIR", os.fspath(tmp_path))
    sentence = (
        "gh is not logged in to github.localhost. Run `gh auth login --hostname github.localhost` "
        "and try again."
    )
    assert sentence_of(github.check_login, NotAuthenticatedError) == sentence
    assert sentence_of(lambda: set_secret(github), NotAuthenticatedError) == sentence


def test_no_login_for_github_com_needs_no_network(
    github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GH_CONFIG_DIR", os.fspath(tmp_path))
    monkeypatch.delenv("GH_HOST")
    elsewhere = GitHub(github.gh, Repository.parse("github.com/owner/project"))
    assert sentence_of(elsewhere.check_login, NotAuthenticatedError) == (
        "gh is not logged in to github.com. Run `gh auth login --hostname github.com` and try "
        "again."
    )


def test_a_refused_token_of_the_environment_is_named(
    github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GH_TOKEN", "ghp_an_old_one")
    assert sentence_of(github.check_login, NotAuthenticatedError) == (
        "github.localhost does not accept the token in the environment variable GH_TOKEN. Renew "
        "the token, or unset GH_TOKEN, run `gh auth login --hostname github.localhost` and try "
        "again."
    )


def test_a_scope_that_a_token_of_the_environment_lacks_is_not_refreshed_by_gh(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with GitHubStandIn(world.config(scopes="gist")) as stand_in:
        enter(monkeypatch, stand_in)
        monkeypatch.setenv("GH_TOKEN", stand_in.token)
        github = hasty(find_gh())
        assert sentence_of(lambda: dispatch()(github), PermissionDeniedError) == (
            "GitHub does not let this login dispatch fleet.yml: Must have admin rights to "
            "Repository. The login lacks the scope repo. Set GH_TOKEN to a token that has the "
            "scope repo, or unset it, run `gh auth refresh --hostname github.localhost --scopes "
            "repo` and try again."
        )


def test_a_rate_limit_tells_when_it_is_reset(github: GitHub, stand_in: GitHubStandIn) -> None:
    stand_in.exhaust_rate_limit(3600)
    with pytest.raises(RateLimitedError) as caught:
        github.check_login()
    assert 3590 < caught.value.retry_after <= 3602
    ahead = caught.value.until - datetime.now(timezone.utc)
    assert abs(ahead.total_seconds() - caught.value.retry_after) < 10


def test_silence_and_a_broken_connection_are_the_networks(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    stand_in.inject(Fault(FaultKind.HANG, "GET", "/user$"))
    assert sentence_of(hasty(Gh(github.gh.path, timeout=1.0)).check_login, NetworkError) == (
        "No answer from github.localhost (none within 1 s). Check the network and its proxy "
        "settings, then try again."
    )
    stand_in.inject(Fault(FaultKind.LOSE, "GET", "/user$", times=4))
    sentence = sentence_of(hasty(github.gh).check_login, NetworkError)
    assert sentence == (
        'No answer from github.localhost (Get "http://api.github.localhost/user": EOF). Check the '
        "network and its proxy settings, then try again."
    )


def test_a_run_that_is_over_or_goes_on_is_named(
    github: GitHub, stand_in: GitHubStandIn, world: World
) -> None:
    script = f"until [ -e {world.out}/go ]; do sleep 0.05; done"
    run = github.workflow("fleet.yml").dispatch({**INPUTS, "script": script}, None, "t-1")
    assert sentence_of(lambda: run.wait(timeout=0), WaitTimeoutError) == (
        f"The workflow run {run.id} of {REPOSITORY} has not ended within 0 s and goes on. Wait "
        "longer, or cancel it."
    )
    (world.out / "go").touch()
    ended(github, run.id)
    assert sentence_of(run.cancel, RunFinishedError) == (
        f"The workflow run {run.id} of {REPOSITORY} is over; there is nothing to cancel."
    )


def test_an_old_gh_is_named_with_its_version(tmp_path: Path) -> None:
    old = tmp_path / "gh"
    old.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --version ] && echo "gh version 1.9.2 (2021-04-20)" && exit\n'
        'echo "unknown flag: --include" >&2\n'
        "exit 1\n"
    )
    old.chmod(0o755)
    assert sentence_of(hasty(Gh(old)).check_login, GhTooOldError) == (
        f"{old} is gh 1.9.2, which is too old: 2.23.0 is the oldest that works. Install a newer "
        "one from https://cli.github.com."
    )


def test_no_gh_at_all_names_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GHA_DISPATCH_GH", raising=False)
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    assert sentence_of(find_gh, GhNotFoundError) == (
        "gh, GitHub's command line tool, is not on PATH. Install it from https://cli.github.com "
        "and run `gh auth login`."
    )


def test_no_repository_names_the_ways_to_tell_one(tmp_path: Path) -> None:
    assert sentence_of(lambda: Repository.infer(tmp_path), NoRepositoryError) == (
        f"{tmp_path} is no git repository. Go to one that has a GitHub remote, or name the "
        "repository as owner/name."
    )


def test_every_error_of_the_tree_is_here() -> None:
    def below(error: type[DispatchError]) -> set[type[DispatchError]]:
        return {error}.union(*map(below, error.__subclasses__()))

    elsewhere = {
        GhNotFoundError,
        GhTooOldError,
        NetworkError,
        NoRepositoryError,
        NotAuthenticatedError,
        RunFinishedError,
        WaitTimeoutError,
    }
    assert below(DispatchError) - {DispatchError} == {case.error for case in CASES} | elsewhere
