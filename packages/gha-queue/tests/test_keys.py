from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_queue import InvalidJobError, _keys
from gha_queue._keys import Attempt, Marker

names = st.from_regex(r"[A-Za-z0-9._-]{1,200}", fullmatch=True).filter(
    lambda text: text not in {".", ".."}
)
ids = st.builds(_keys.retry_id, names, st.integers(0, 9999))
attempts = st.builds(Attempt, ids, st.integers(1, 999_999_999))
markers = st.builds(
    Marker,
    st.integers(0, 9),
    st.integers(0, 9_999_999_999),
    st.from_regex(r"[A-Za-z0-9_-]{0,64}", fullmatch=True),
    attempts,
)


@given(markers)
def test_a_marker_reads_back_from_its_key(marker: Marker) -> None:
    assert _keys.parse_marker(marker.key) == marker


@given(attempts)
def test_a_claim_reads_back_from_its_key(attempt: Attempt) -> None:
    assert _keys.parse_claim(attempt.claim_key) == attempt
    assert _keys.parse_outcome(attempt.outcome_key) == attempt


@given(names, st.integers(0, 9998))
def test_a_retry_knows_the_job_it_repeats(name: str, number: int) -> None:
    job_id = _keys.retry_id(name, number)
    assert _keys.first_id(job_id) == (name, number)
    assert _keys.following_id(job_id) == _keys.retry_id(name, number + 1)
    assert _keys.parse_id(_keys.DEAD, _keys.dead_key(job_id)) == job_id


@given(attempts, attempts)
def test_different_attempts_never_share_a_key(one: Attempt, other: Attempt) -> None:
    assert (one.claim_key == other.claim_key) == (one == other)


@given(markers, markers)
def test_markers_list_by_priority_then_due(one: Marker, other: Marker) -> None:
    if (one.priority, one.due) < (other.priority, other.due):
        assert one.key < other.key


@given(names, st.booleans())
def test_a_worker_reads_back_from_its_key(name: str, left: bool) -> None:
    key = _keys.left_key(name) if left else _keys.worker_key(name)
    assert _keys.parse_worker(key) == (name, left)


@given(ids, names, names)
def test_a_file_tells_its_job_and_never_another_ones(job_id: str, name: str, worker: str) -> None:
    assert _keys.parse_job_file(_keys.job_files(job_id) + name) == job_id
    assert _keys.parse_job_file(_keys.worker_files(worker) + name) is None


@pytest.mark.parametrize(
    "key", ["files/jobs/a", "files/jobs/a/", "files/jobs/a/b/c", "files/jobs//a", "files/jobs/../a"]
)
def test_other_keys_are_no_files_of_jobs(key: str) -> None:
    assert _keys.parse_job_file(key) is None


def test_the_dot_belongs_to_the_id_from_the_right() -> None:
    assert _keys.parse_claim("claims/a.1.2") == Attempt("a.1", 2)
    assert _keys.parse_claim("claims/a.2") == Attempt("a", 2)


@pytest.mark.parametrize(
    "key", ["claims/a", "claims/a.0", "claims/a.01", "claims/.1", "claims/a/b.1", "ready/a.1", ""]
)
def test_other_keys_are_no_claims(key: str) -> None:
    assert _keys.parse_claim(key) is None


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "a b", "a~1", "ä", "a\n", "x" * 201])
def test_a_bad_id_is_refused(bad: str) -> None:
    with pytest.raises(InvalidJobError, match="is no job id"):
        _keys.check_new_id(bad)


@pytest.mark.parametrize("bad", ["", "..", "a/b", "a~", "a~0", "a~1~1", "..~1", "~1"])
def test_an_id_that_no_job_can_have_is_refused(bad: str) -> None:
    with pytest.raises(InvalidJobError, match="is no job id"):
        _keys.check_id(bad)
    assert _keys.parse_id(_keys.JOBS, f"jobs/{bad}") is None
