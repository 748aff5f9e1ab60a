from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from dispatch_world import git
from hypothesis import given
from hypothesis import strategies as st

from gha_dispatch import NoRepositoryError, Repository
from gha_dispatch._repository import parse_remotes, parse_url, usable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_host_of_gh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GH_HOST", raising=False)


names = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(
    lambda name: not name.endswith(".git")
)
hosts = st.sampled_from(["github.com", "ghe.example.org", "github.localhost"])


@given(
    host=hosts,
    owner=names,
    name=names,
    form=st.sampled_from(
        [
            "https://{}/{}/{}",
            "http://{}/{}/{}",
            "https://user:token@{}/{}/{}",
            "ssh://git@{}/{}/{}",
            "ssh://git@{}:2222/{}/{}",
            "git@{}:{}/{}",
            "{}:{}/{}",
            "git://{}/{}/{}",
        ]
    ),
    suffix=st.sampled_from(["", ".git", "/", ".git/"]),
)
def test_every_form_of_a_url_names_the_same_repository(
    host: str, owner: str, name: str, form: str, suffix: str
) -> None:
    assert parse_url(form.format(host, owner, name) + suffix) == Repository(host, owner, name)


@given(host=hosts, owner=names, name=names)
def test_a_repository_reads_back_what_it_writes(host: str, owner: str, name: str) -> None:
    repository = Repository(host, owner, name)
    assert Repository.parse(str(repository)) == repository


@given(st.text() | st.text().map("https://[{}".format))
def test_any_text_is_a_repository_or_none(text: str) -> None:
    found = parse_url(text)
    assert found is None or Repository.parse(str(found)) == found


@pytest.mark.parametrize(
    "url", ["/srv/git/x.git", "../x", "file:///srv/o/n", "https://github.com/o", "C:\\x\\y", ""]
)
def test_a_url_that_lies_on_no_host_names_nothing(url: str) -> None:
    assert parse_url(url) is None


def test_github_over_the_https_port_is_github() -> None:
    found = parse_url("ssh://git@ssh.github.com:443/o/n.git")
    assert found == Repository("github.com", "o", "n")


@pytest.mark.parametrize("text", ["", "name", "a/b/c/d", "o/..", "o/n m", "-h/o/n", "o/"])
def test_what_names_no_repository_is_refused(text: str) -> None:
    with pytest.raises(NoRepositoryError, match="owner/name"):
        Repository.parse(text)


def test_the_host_comes_from_the_environment_else_it_is_github_com(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GH_HOST", raising=False)
    assert Repository.parse("o/n").host == "github.com"
    monkeypatch.setenv("GH_HOST", "ghe.example.org")
    assert Repository.parse("o/n").host == "ghe.example.org"
    assert Repository.parse("github.com/o/n").host == "github.com"


def repository_with(path: Path, remotes: dict[str, str]) -> Path:
    git(path, "init", "--quiet")
    for name, url in remotes.items():
        git(path, "remote", "add", name, url)
    return path


@pytest.mark.parametrize(
    ("remotes", "expected"),
    [
        ({"origin": "git@github.com:o/my.tool.git"}, "github.com/o/my.tool"),
        ({"fork": "https://github.com/me/n", "origin": "https://github.com/o/n"}, "github.com/o/n"),
        ({"up": "https://ghe.example.org/o/n.git"}, "ghe.example.org/o/n"),
        ({"backup": "/srv/n.git", "up": "https://github.com/o/n"}, "github.com/o/n"),
        ({"a": "https://github.com/o/n", "b": "git@github.com:o/n.git"}, "github.com/o/n"),
    ],
)
def test_the_remotes_tell_the_repository(
    tmp_path: Path, remotes: dict[str, str], expected: str
) -> None:
    assert str(Repository.infer(repository_with(tmp_path, remotes))) == expected


@pytest.mark.parametrize(("value", "expected"), [("base", "me/n"), ("them/n", "them/n")])
def test_the_default_that_was_set_with_gh_wins(tmp_path: Path, value: str, expected: str) -> None:
    remotes = {"origin": "https://github.com/o/n", "fork": "https://github.com/me/n"}
    repository_with(tmp_path, remotes)
    git(tmp_path, "config", "remote.fork.gh-resolved", value)
    assert str(Repository.infer(tmp_path)) == f"github.com/{expected}"


@given(
    remotes=st.dictionaries(names, st.builds(Repository, hosts, names, names), max_size=5),
    host=st.none() | hosts,
)
def test_only_remotes_on_the_host_that_gh_is_set_to_count_if_there_are_any(
    remotes: dict[str, Repository], host: str | None
) -> None:
    counted = usable(remotes, host)
    on_host = [name for name, found in remotes.items() if found.host == host]
    assert list(counted) == (on_host or list(remotes))


@given(
    remotes=st.dictionaries(names, st.builds(Repository, hosts, names, names), max_size=5),
    urls=st.sampled_from(["https://{}", "ssh://git@{}.git"]),
)
def test_remotes_are_read_back_as_git_lists_them(remotes: dict[str, Repository], urls: str) -> None:
    listed = "".join(
        f"{name}\t{urls.format(found)} (fetch)\n{name}\thttps://github.com/push/only (push)\n"
        for name, found in remotes.items()
    )
    assert parse_remotes(listed) == remotes


def test_the_blobless_remark_of_a_partial_clone_is_no_part_of_the_url() -> None:
    listed = "origin\thttps://github.com/o/n.git (fetch) [blob:none]\n"
    assert parse_remotes(listed) == {"origin": Repository("github.com", "o", "n")}


def test_a_mirror_on_another_forge_is_not_asked_for_workflows(tmp_path: Path) -> None:
    remotes = {"origin": "git@gitlab.com:o/n.git", "hub": "https://github.com/o/n"}
    assert str(Repository.infer(repository_with(tmp_path, remotes))) == "github.com/o/n"


def test_the_host_that_gh_is_set_to_decides_between_remotes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remotes = {"origin": "https://github.com/o/n", "work": "git@ghe.example.org:team/n.git"}
    repository_with(tmp_path, remotes)
    assert str(Repository.infer(tmp_path)) == "github.com/o/n"
    monkeypatch.setenv("GH_HOST", "ghe.example.org")
    assert str(Repository.infer(tmp_path)) == "ghe.example.org/team/n"
    monkeypatch.setenv("GH_HOST", "elsewhere.example.org")
    assert str(Repository.infer(tmp_path)) == "github.com/o/n"


def test_an_alias_of_ssh_stands_for_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository_with(tmp_path, {"origin": "git@github-work:o/n.git"})
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(
        '#!/bin/sh\n[ "$*" = "-G github-work" ] && echo "user git\nhostname GitHub.com"\n'
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}{os.pathsep}{os.environ['PATH']}")
    assert str(Repository.infer(tmp_path)) == "github.com/o/n"
    ssh.write_text("#!/bin/sh\nexit 255\n")
    assert str(Repository.infer(tmp_path)) == "github-work/o/n"


@pytest.mark.parametrize(
    "remotes",
    [
        {},
        {"backup": "/srv/n.git"},
        {"a": "https://u:hidden@github.com/o/n", "b": "https://u:hidden@github.com/me/n"},
    ],
)
def test_remotes_that_do_not_tell_are_named_without_their_urls(
    tmp_path: Path, remotes: dict[str, str]
) -> None:
    with pytest.raises(NoRepositoryError, match="gh repo set-default") as caught:
        Repository.infer(repository_with(tmp_path, remotes))
    assert "hidden" not in str(caught.value)


def test_a_directory_without_git_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoRepositoryError, match="no git repository"):
        Repository.infer(tmp_path)


def test_a_repository_of_another_user_is_not_called_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = repository_with(tmp_path, {"origin": "https://github.com/o/n"}) / "inner"
    inner.mkdir()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch, for its tests
    with pytest.raises(NoRepositoryError, match=r"another user.*safe\.directory") as caught:
        Repository.infer(inner)
    assert str(caught.value).startswith(f"{tmp_path} belongs")
