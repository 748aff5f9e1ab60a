from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gha_worker._telling.masks import (
    Masker,
    escape_data,
    mask_commands,
    masked_end,
    masked_tail,
    overlap,
)

if TYPE_CHECKING:
    from pathlib import Path

few_secrets = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3)


@given(few_secrets, st.text("abc", max_size=60), st.integers(1, 20))
@example(["ab", "ba"], "xaba", 3)
def test_no_secret_is_left_in_a_tail_however_it_is_cut(
    secrets: list[str], output: str, kept: int
) -> None:
    data = output.encode()
    window = data[-(kept + overlap(secrets)) :]
    tail = masked_tail(window, secrets, skip=max(0, len(window) - kept))
    hidden = [False] * len(output)
    for secret in secrets:
        for start in range(len(output)):
            if output.startswith(secret, start):
                hidden[start : start + len(secret)] = [True] * len(secret)
    first = max(0, len(output) - kept)
    shown = [c for c, h in zip(output[first:], hidden[first:], strict=True) if not h]
    assert tail.replace("***", "") == "".join(shown)
    assert ("***" in tail) == any(hidden[first:])


@given(few_secrets, st.lists(st.text("abc", max_size=8), max_size=12))
@example(["abab", "ba"], ["a", "ba", "", "bab", "c"])
@example(["aab"], ["aa", "a", "b"])
def test_a_stream_is_masked_as_the_whole_is_however_it_is_cut(
    secrets: list[str], pieces: list[str]
) -> None:
    masker = Masker(secrets)
    shown = b"".join(masker.feed(piece.encode()) for piece in pieces) + masker.flush()
    assert shown.decode() == masked_tail("".join(pieces).encode(), secrets)


@given(few_secrets, st.lists(st.text("abc", min_size=1, max_size=8), min_size=1, max_size=12))
def test_only_the_beginning_of_a_secret_is_held_back(secrets: list[str], pieces: list[str]) -> None:
    masker = Masker(secrets)
    for piece in pieces:
        masker.feed(piece.encode())
    output = "".join(pieces)
    open_ends = [
        size
        for size in range(1, len(output) + 1)
        if any(len(secret) > size and secret.startswith(output[-size:]) for secret in secrets)
    ]
    rest = masker.flush()
    assert len(rest.replace(b"***", b"*")) <= max([0, *open_ends])


def test_a_line_without_a_secret_is_shown_at_once() -> None:
    masker = Masker(["k" * 3000])
    assert masker.feed(b"epoch 1\n") == b"epoch 1\n"
    assert masker.feed(b"ok") == b"o"
    assert masker.feed(b"ay") == b"kay"


def test_a_secret_of_several_lines_is_masked_line_by_line() -> None:
    key = '{\n  "private_key": "abc",\n}\n'
    assert masked_tail(b'> "private_key": "abc", {', [key]) == "> *** {"


def test_a_tail_that_is_no_utf8_is_still_text() -> None:
    assert masked_tail(b"a\xffb", []) == "a\ufffdb"


@given(st.text("abcé", max_size=60), st.integers(1, 20))
def test_the_end_of_a_file_is_masked_and_says_what_comes_before(
    tmp_path_factory: pytest.TempPathFactory, output: str, length: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "output"
    data = output.encode()
    file.write_bytes(data)
    text, before = masked_end(file, length, ["bc"])
    skip = max(0, len(data) - length)
    assert (text, before) == (masked_tail(data, ["bc"], skip=skip), skip)


def test_the_end_of_a_file_that_has_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        masked_end(tmp_path / "gone", 10, [])


def test_github_is_told_each_line_of_a_secret_once_and_no_lone_brace() -> None:
    key = '{\r\n  "a": "100%",\n  "a": "100%",\n}\n'
    assert mask_commands([key, "x%0Ay", " k "]) == [
        "::add-mask:: k ",
        '::add-mask::"a": "100%25",',
        "::add-mask::k",
        "::add-mask::x%250Ay",
    ]


@pytest.mark.parametrize("nothing", ["", " ", "\n", "\r\n \n"])
def test_a_secret_without_a_character_masks_nothing(nothing: str) -> None:
    assert mask_commands([nothing]) == []
    assert masked_tail(b"a b\nc", [nothing]) == "a b\nc"


@given(st.text())
def test_what_github_reads_back_is_what_was_written(text: str) -> None:
    escaped = escape_data(text)
    assert "\n" not in escaped
    assert "\r" not in escaped
    read = escaped.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
    assert read == text
