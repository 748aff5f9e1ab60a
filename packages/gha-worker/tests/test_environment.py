from __future__ import annotations

from dataclasses import replace

import pytest

from gha_worker import CommandJob
from gha_worker._machine.environment import Place, drop_empty_aws, job_environment, run_url

PLACE = Place(
    job="j",
    attempt=2,
    worker="w",
    slot=1,
    cores=1.0,
    memory_mb=4096,
    directory="/d/work",
    temporary="/d/tmp",
)
JOB = CommandJob(script="true")


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "HOME",
        "LC_ALL",
        "SSL_CERT_FILE",
        "UV_CACHE_DIR",
        "PIP_INDEX_URL",
        "https_proxy",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL_STS",
        "AWS_REGION",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "GITHUB_RUN_ID",
    ],
)
def test_what_describes_the_machine_reaches_the_job(name: str) -> None:
    assert job_environment(JOB, {name: "x"}, PLACE)[name] == "x"


@pytest.mark.parametrize(
    "name",
    [
        "GITHUB_TOKEN",
        "GH_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "UV_PUBLISH_TOKEN",
        "UV_INDEX_CORP_PASSWORD",
        "BASH_ENV",
        "PYTHONPATH",
        "RUNNER_TRACKING_ID",
        "ANYTHING_ELSE",
    ],
)
def test_everything_else_of_the_worker_stays_with_it(name: str) -> None:
    assert name not in job_environment(JOB, {name: "x"}, PLACE)


def test_a_job_gets_the_secrets_it_names_and_no_others() -> None:
    worker = {"A": "1", "B": "2", "EMPTY": ""}
    job = CommandJob(script="true", secrets=("A", "EMPTY", "ABSENT"))
    environment = job_environment(job, worker, PLACE)
    assert environment["A"] == "1"
    assert not {"B", "EMPTY", "ABSENT"} & environment.keys()


def test_a_secret_is_stronger_than_a_plain_value_and_a_plain_value_than_the_machine() -> None:
    worker = {"LANG": "C", "KEY": "secret"}
    job = CommandJob(script="true", env={"LANG": "de", "KEY": "plain"}, secrets=("KEY",))
    environment = job_environment(job, worker, PLACE)
    assert (environment["LANG"], environment["KEY"]) == ("de", "secret")


def test_a_job_cannot_forge_where_it_runs() -> None:
    job = CommandJob(script="true", env={"GHA_WORKER_ATTEMPT": "9", "TMPDIR": "/tmp"})
    environment = job_environment(job, {}, PLACE)
    place = {
        "TMPDIR": "/d/tmp",
        "GHA_WORKER_JOB": "j",
        "GHA_WORKER_ATTEMPT": "2",
        "GHA_WORKER_NAME": "w",
        "GHA_WORKER_SLOT": "1",
        "GHA_WORKER_CORES": "1",
        "GHA_WORKER_MEMORY_MB": "4096",
        "GHA_WORKER_DIR": "/d/work",
    }
    assert {name: environment[name] for name in place} == place


@pytest.mark.parametrize(("cores", "threads"), [(0.25, "1"), (1.0, "1"), (2.5, "2"), (4.0, "4")])
def test_libraries_start_as_many_threads_as_the_job_has_cores(cores: float, threads: str) -> None:
    environment = job_environment(JOB, {}, replace(PLACE, cores=cores))
    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == threads
    own = replace(JOB, env={"OMP_NUM_THREADS": "9"})
    assert job_environment(own, {}, PLACE)["OMP_NUM_THREADS"] == "9"


def test_only_empty_aws_variables_are_dropped() -> None:
    environment = {"AWS_SESSION_TOKEN": "", "AWS_REGION": "eu", "OTHER": "", "AWS_X": " "}
    drop_empty_aws(environment)
    assert environment == {"AWS_REGION": "eu", "OTHER": ""}


def test_the_run_page_needs_all_three_parts() -> None:
    parts = {
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_RUN_ID": "7",
    }
    assert run_url(parts) == "https://github.com/o/r/actions/runs/7"
    for name in parts:
        assert run_url({**parts, name: ""}) is None
