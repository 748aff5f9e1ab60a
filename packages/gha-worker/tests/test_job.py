from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_worker import (
    CommandJob,
    InvalidJobError,
    OnStop,
    Prepare,
    RefusedSecretError,
    Resources,
    UnsupportedVersionError,
)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
variables = st.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True).filter(
    lambda name: not name.startswith(("GITHUB", "GH_", "ACTIONS_"))
)
positive = st.floats(min_value=0.001, max_value=1e6)
jobs = st.builds(
    CommandJob,
    script=texts,
    env=st.dictionaries(variables, texts),
    secrets=st.lists(variables).map(tuple),
    prepare=st.none() | st.builds(Prepare, key=texts, script=texts),
    timeout=positive,
    resources=st.builds(
        Resources, cpu=positive, memory_mb=st.none() | st.integers(min_value=1, max_value=10**6)
    ),
    on_stop=st.sampled_from(OnStop),
    name=st.text(st.characters(categories=["L", "N"]), max_size=200),
)


@given(jobs)
def test_a_job_survives_its_payload(job: CommandJob) -> None:
    assert CommandJob.from_payload(json.loads(json.dumps(job.to_payload()))) == job


def test_a_payload_needs_only_version_and_script() -> None:
    job = CommandJob.from_payload({"v": 1, "run": {"script": "true"}})
    assert job == CommandJob(script="true")


def test_fields_that_a_later_writer_added_are_ignored() -> None:
    payload = {**CommandJob(script="true").to_payload(), "color": "blue"}
    assert CommandJob.from_payload(payload) == CommandJob(script="true")


@pytest.mark.parametrize("version", [2, 0, "1", None, True, 1.0])
def test_a_foreign_version_is_refused_by_naming_both(version: object) -> None:
    with pytest.raises(UnsupportedVersionError) as caught:
        CommandJob.from_payload({"v": version, "run": {"script": "true"}})
    assert repr(version) in str(caught.value)
    assert "reads version 1" in str(caught.value)
    assert caught.value.supported == (1,)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("run", {"run": None}),
        ("run.script", {"run": {}}),
        ("run.script", {"run": {"script": ""}}),
        ("run.script", {"run": {"script": "a\0b"}}),
        ("env", {"env": ["A"]}),
        ("env", {"env": {"A-B": "1"}}),
        ("env.A", {"env": {"A": 1}}),
        ("secrets", {"secrets": "TOKEN"}),
        ("secrets", {"secrets": [1]}),
        ("secrets", {"secrets": ["A B"]}),
        ("prepare", {"prepare": "pip install x"}),
        ("prepare.key", {"prepare": {"script": "true"}}),
        ("prepare.script", {"prepare": {"key": "k"}}),
        ("server", {"server": "true"}),
        ("server.script", {"server": {"script": ""}}),
        ("log", {"log": 1}),
        ("timeout", {"timeout": 0}),
        ("timeout", {"timeout": -1}),
        ("timeout", {"timeout": "60"}),
        ("timeout", {"timeout": True}),
        ("timeout", {"timeout": float("nan")}),
        ("resources", {"resources": 4}),
        ("resources.cpu", {"resources": {"cpu": 0}}),
        ("resources.memory_mb", {"resources": {"memory_mb": -5}}),
        ("on_stop", {"on_stop": "retry"}),
        ("on_stop", {"on_stop": ["fail"]}),
        ("name", {"name": "two\nlines"}),
        ("name", {"name": "x" * 201}),
        ("name", {"name": 7}),
    ],
)
def test_a_bad_field_is_named(field: str, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidJobError) as caught:
        CommandJob.from_payload({**CommandJob(script="true").to_payload(), **change})
    assert caught.value.field == field
    assert field in str(caught.value)


@pytest.mark.parametrize("payload", [None, [], "true", 1])
def test_a_payload_that_is_no_object_is_refused(payload: object) -> None:
    with pytest.raises(InvalidJobError, match="payload"):
        CommandJob.from_payload(payload)


@pytest.mark.parametrize(
    "name",
    [
        "GITHUB_TOKEN",
        "github_token",
        "GH_TOKEN",
        "GH_ENTERPRISE_TOKEN",
        "GITHUB_ENTERPRISE_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "ACTIONS_RUNTIME_TOKEN",
    ],
)
def test_credentials_of_the_workflow_run_are_no_secrets_of_a_job(name: str) -> None:
    with pytest.raises(RefusedSecretError) as caught:
        CommandJob(script="true", secrets=(name,))
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("env", [("A", "1")]),
        ("secrets", "TOKEN"),
        ("prepare", "pip install x"),
        ("server", "python serve.py"),
        ("resources", 4),
        ("on_stop", "fail"),
    ],
)
def test_a_field_of_another_type_is_named_where_the_job_is_made(field: str, value: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidJobError, match=field):
        CommandJob("true", **{field: value})
