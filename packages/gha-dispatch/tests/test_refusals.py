"""Any answer outside 2xx is an error of the tree; what it says depends on what GitHub tells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_dispatch import (
    DispatchError,
    GitHubUnavailableError,
    NotAuthenticatedError,
    PermissionDeniedError,
    RepositoryNotFoundError,
    RequestRejectedError,
    SingleSignOnError,
)
from gha_dispatch._gh import Answer, token_variable
from gha_dispatch._refusals import missing_scopes, of_dispatch, of_repository, refusal

words = st.text(max_size=40) | st.sampled_from(
    ["Actions has been disabled", "No ref found for: x", "Unexpected inputs", "SAML enforcement"]
)
headers = st.dictionaries(
    st.sampled_from(
        [
            "x-oauth-scopes",
            "x-accepted-oauth-scopes",
            "x-accepted-github-permissions",
            "x-github-sso",
            "retry-after",
        ]
    ),
    st.text(max_size=30) | st.sampled_from(["repo, gist", "required; url=https://github.com/x"]),
)
bodies = st.none() | st.text() | st.lists(st.integers()) | st.fixed_dictionaries({"message": words})
refusals = st.builds(Answer, st.integers(300, 599), headers, bodies)


BY_STATUS: dict[int, tuple[type[DispatchError], ...]] = {
    401: (NotAuthenticatedError,),
    403: (PermissionDeniedError, SingleSignOnError),
    404: (RepositoryNotFoundError,),
    **dict.fromkeys((301, 302, 307, 308), (RepositoryNotFoundError,)),
}


@given(answer=refusals)
def test_every_refusal_is_an_error_that_ends_a_sentence(answer: Answer) -> None:
    for error in (
        refusal(answer, host="github.com", action="read"),
        of_repository(answer, "github.com/o/n", "read"),
        of_dispatch(answer, "github.com/o/n", "w.yml", "main"),
    ):
        assert isinstance(error, DispatchError)
        assert str(error).endswith((".", "back."))


@given(answer=refusals)
def test_the_status_decides_where_it_says_enough(answer: Answer) -> None:
    error = of_repository(answer, "github.com/o/n", "read")
    default = GitHubUnavailableError if answer.status >= 500 else RequestRejectedError
    assert isinstance(error, BY_STATUS.get(answer.status, (default,)))


scope = st.sampled_from(["repo", "gist", "workflow", "public_repo", "admin:org"])


@given(held=st.sets(scope), accepted=st.lists(scope, unique=True))
def test_a_scope_is_missing_when_none_that_would_do_is_held(
    held: set[str], accepted: list[str]
) -> None:
    named = {
        "x-oauth-scopes": ", ".join(sorted(held)),
        "x-accepted-oauth-scopes": ", ".join(accepted),
    }
    assert missing_scopes(named) == (() if held & set(accepted) else tuple(accepted))
    assert missing_scopes({"x-accepted-oauth-scopes": "repo"}) == ()


def test_the_permissions_of_which_one_would_do_are_told_apart() -> None:
    told = {"x-accepted-github-permissions": "actions=write; contents=write,metadata=read"}
    answer = Answer(403, told, {"message": "Resource not accessible by integration"})
    error = refusal(answer, host="github.com", action="dispatch it")
    assert isinstance(error, PermissionDeniedError)
    assert error.missing == ("actions=write", "contents=write,metadata=read")


def test_an_address_for_single_sign_on_is_a_web_page_or_none() -> None:
    def url(header: str) -> str | None:
        answer = Answer(403, {"x-github-sso": header}, None)
        error = refusal(answer, host="github.com", action="read")
        assert isinstance(error, SingleSignOnError)
        return error.url

    page = "https://github.com/orgs/acme/sso?authorization_request=A"
    assert url(f"required; url={page}") == page
    assert url(f"required; url={page}; later=1") == page
    assert url("required; url=javascript:alert(1)") is None
    assert url("partial-results; organizations=1") is None


@pytest.mark.parametrize(
    ("host", "variable"),
    [
        ("github.com", "GITHUB_TOKEN"),
        ("acme.ghe.com", "GITHUB_TOKEN"),
        ("github.localhost", "GITHUB_TOKEN"),
        ("ghe.example.org", "GITHUB_ENTERPRISE_TOKEN"),
    ],
)
def test_the_variable_whose_token_gh_uses_depends_on_the_host(
    monkeypatch: pytest.MonkeyPatch, host: str, variable: str
) -> None:
    for name in ("GH_TOKEN", "GH_ENTERPRISE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GITHUB_TOKEN", "GITHUB_ENTERPRISE_TOKEN"):
        monkeypatch.setenv(name, "x")
    assert token_variable(host) == variable
    preferred = variable.replace("GITHUB_", "GH_")
    monkeypatch.setenv(preferred, "x")
    assert token_variable(host) == preferred
