from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_queue import (
    Control,
    InvalidJobError,
    InvalidQueueError,
    Job,
    Outcome,
    OutcomeKind,
    Queue,
    RecordError,
    Settings,
    Status,
    _records,
)

jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(jsons, st.integers(1, 99), st.integers(0, 9), st.integers(0, 2**32))
def test_a_job_reads_back(payload: object, budget: int, priority: int, due: int) -> None:
    job = Job("a~2", payload, budget, priority, "linux", due, 0.5, "a~1", purged=True)
    assert _records.job_from("jobs/a", _records.dump(_records.job_fields(job))) == job


@given(st.sampled_from(OutcomeKind), jsons, jsons, st.none() | st.text(), st.none() | st.just(2))
def test_an_outcome_reads_back(
    kind: OutcomeKind, result: object, error: object, worker: str | None, following: int | None
) -> None:
    outcome = Outcome("a", 1, kind, result, error, worker, 1, 0, following, following, 1.5, 2.5)
    body = _records.dump(_records.outcome_fields(outcome))
    assert _records.outcome_from("outcomes/a.1", body) == outcome


@given(
    st.builds(
        Control,
        status=st.sampled_from(Status),
        cancel=st.booleans(),
        keepalive=st.none() | st.floats(1, 1e6),
        age=st.floats(0, 1e6),
        drain=st.frozensets(st.from_regex(r"[A-Za-z0-9._-]{1,200}", fullmatch=True), max_size=3),
        slots=st.none() | st.integers(1, 1000),
    )
)
def test_control_reads_back(control: Control) -> None:
    body = _records.dump(_records.control_fields(control))
    assert _records.control_from("control", body, control.age) == control


def test_control_of_an_older_version_drains_nobody_and_limits_nothing() -> None:
    body = b'{"v":1,"status":"paused","cancel":false,"keepalive":null}'
    assert _records.control_from("control", body, 2.0) == Control(Status.PAUSED, age=2.0)


@pytest.mark.parametrize("damage", ['"drain":7', '"drain":null', '"slots":[]', '"slots":"x"'])
def test_damaged_control_is_named(damage: str) -> None:
    body = f'{{"v":1,"status":"open","cancel":false,"keepalive":null,{damage}}}'
    with pytest.raises(RecordError, match="control"):
        _records.control_from("control", body.encode(), 0.0)


def test_control_tells_an_owner_who_stopped_renewing() -> None:
    assert not Control(keepalive=120.0, age=120.0).stopping
    assert Control(keepalive=120.0, age=121.0).abandoned
    assert not Control(age=1e9).stopping
    assert Control(cancel=True).stopping


def test_a_newer_record_names_both_formats() -> None:
    with pytest.raises(RecordError, match="format 7, this gha-queue reads up to 1: upgrade"):
        _records.job_from("jobs/a", b'{"v":7}')


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"v":1}', b'{"v":true}'])
def test_a_damaged_record_is_named(body: bytes) -> None:
    with pytest.raises(RecordError, match="jobs/a"):
        _records.job_from("jobs/a", body)


@pytest.mark.parametrize(
    ("lease", "heartbeat"), [(60, 21), (0, 0), (-1, -1), (float("nan"), 1), (float("inf"), 1)]
)
def test_settings_that_cannot_keep_a_lease_are_refused(lease: float, heartbeat: float) -> None:
    with pytest.raises(InvalidQueueError):
        Settings(lease, heartbeat)


@pytest.mark.parametrize("url", ["", "jobs", "http://x/y", "s3://", "s3:///p", "s3://b/ä"])
def test_a_url_that_names_no_place_is_refused(url: str) -> None:
    with pytest.raises(InvalidQueueError, match="is no place of a queue"):
        Queue(url)


@pytest.mark.parametrize(
    "options", [{"max_attempts": 0}, {"max_attempts": True}, {"priority": 10}, {"need": "a.b"}]
)
def test_a_job_with_bad_options_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidJobError):
        Job("a", None, **options)  # type: ignore[arg-type]


def test_only_what_json_gives_back_is_json() -> None:
    assert _records.json_size({"a": [1, 2.5, None, "ä"]}) == len(r'{"a":[1,2.5,null,"\u00e4"]}')
    for value in ({1: 2}, (1, 2), {1}, float("nan"), b"x"):
        with pytest.raises(ValueError):  # noqa: PT011 - the callers give it a name and a text
            _records.json_size(value)
