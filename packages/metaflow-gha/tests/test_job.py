"""The job that stands for a task: names, scripts and environment."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import boto3
from hypothesis import given
from hypothesis import strategies as st

from metaflow_extensions.gha.launcher import job
from metaflow_extensions.gha.launcher.code_package import CodePackage

from .setup_lab import BUCKET

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from gha_queue.testing import S3Server

TASK = job.Task("Flow", "12", "start", "1", 0)
PACKAGE = CodePackage(
    '{"version": 0, "archive_format": "tgz", "mfcontent_version": 1}', "f00", "s3://bucket/a/b/f00"
)


def environment(**config: str) -> dict[str, str]:
    return job.environment(
        TASK,
        PACKAGE,
        config=config,
        flow_file="flow.py",
        user="u",
        step_variables={},
        metadata_files={},
        logs={},
    )


@given(st.text(min_size=1, max_size=50))
def test_a_job_id_is_one_that_the_queue_takes_whatever_the_step_is_called(step: str) -> None:
    import re

    assert re.fullmatch(r"[A-Za-z0-9._-]{1,200}", job.Task("F", "1", step, "7", 2).job_id)


def test_each_try_of_a_task_is_a_job_of_its_own() -> None:
    assert job.Task("F", "1", "s", "7", 0).job_id != job.Task("F", "1", "s", "7", 1).job_id


def test_a_job_id_tells_the_step() -> None:
    assert job.step_of(job.Task("F", "1", "train_all", "7", 2).job_id) == "train_all"


def test_the_headers_of_the_metadata_service_stay_here() -> None:
    sent = environment(METAFLOW_SERVICE_HEADERS='{"x-api-key": "k"}', METAFLOW_SERVICE_AUTH_KEY="k")
    assert "METAFLOW_SERVICE_HEADERS" not in sent
    assert "METAFLOW_SERVICE_AUTH_KEY" not in sent


def test_the_local_datastore_root_and_the_endpoint_of_this_machine_stay_here() -> None:
    sent = environment(
        METAFLOW_DATASTORE_SYSROOT_LOCAL="/home/u", METAFLOW_S3_ENDPOINT_URL="http://127.0.0.1:1"
    )
    assert "METAFLOW_DATASTORE_SYSROOT_LOCAL" not in sent
    assert "METAFLOW_S3_ENDPOINT_URL" not in sent


def test_the_datastore_and_the_options_of_s3_go_along() -> None:
    sent = environment(
        METAFLOW_DATASTORE_SYSROOT_S3="s3://b/m", METAFLOW_S3_VERIFY_CERTIFICATE="false"
    )
    assert sent["METAFLOW_DATASTORE_SYSROOT_S3"] == "s3://b/m"
    assert sent["METAFLOW_S3_VERIFY_CERTIFICATE"] == "false"


def test_tasks_with_the_same_code_share_a_preparation_and_others_do_not() -> None:
    other = CodePackage(PACKAGE.metadata, "f01", "s3://bucket/a/b/f01")
    key = job.prepare_key(job.prepare_script(PACKAGE, "3.11"))
    assert key == job.prepare_key(job.prepare_script(PACKAGE, "3.11"))
    assert key != job.prepare_key(job.prepare_script(other, "3.11"))
    assert key != job.prepare_key(job.prepare_script(PACKAGE, "3.12"))


def test_the_scripts_are_valid_bash_whatever_the_step_command_holds() -> None:
    command = """python -u flow.py step start --tag "it's" '$HOME `x`'"""
    scripts = [job.prepare_script(PACKAGE, "3.11"), job.run_script(PACKAGE, ["echo 'a'"], command)]
    for script in scripts:
        checked = subprocess.run(
            ["bash", "-n"], input=script, text=True, capture_output=True, check=False
        )
        assert checked.returncode == 0, checked.stderr


def test_tasks_get_their_own_files_of_the_user_and_share_those_of_metaflow(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["flow.py", "data/names.txt", ".mf_code/metaflow.py", ".mf_meta/INFO", ".mf_install"]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=s3_server.endpoint)
    client.put_object(Bucket=BUCKET, Key="code", Body=archive.getvalue())
    # In place of an environment with boto3 from an index, the one that these tests run in.
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(
        f"""#!/bin/bash -e
[ "$1" = venv ] || exit 0
mkdir -p "${{@: -1}}/bin"
printf '#!/bin/sh\\nexec {sys.executable} "$@"\\n' > "${{@: -1}}/bin/python"
chmod +x "${{@: -1}}/bin/python"
"""
    )
    uv.chmod(0o755)
    prepared, template = tmp_path / "prepared", tmp_path / "template"
    prepared.mkdir()
    template.mkdir()
    package = CodePackage(PACKAGE.metadata, "f00", f"s3://{BUCKET}/code")
    subprocess.run(
        ["bash", "-c", job.prepare_script(package, "3.11")],
        env={
            **os.environ,
            "PATH": f"{uv.parent}:{os.environ['PATH']}",
            "GHA_WORKER_PREPARED": str(prepared),
            "GHA_WORKER_TEMPLATE": str(template),
        },
        cwd=prepared,
        check=True,
    )
    assert {path.name for path in template.iterdir()} == {name.partition("/")[0] for name in names}
    assert {path.name for path in template.iterdir() if path.is_symlink()} == {
        ".mf_code",
        ".mf_meta",
        ".mf_install",
    }
    # Metaflow finds what it knows of itself beside its code, through the link.
    assert (template / ".mf_code" / ".." / ".mf_meta" / "INFO").is_file()
    assert (prepared / ".mf_code" / "metaflow.py").is_file()
