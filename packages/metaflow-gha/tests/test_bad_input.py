"""Bad input gets one sentence with a next step, before the first task, exit code 1 and no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gha_queue.testing import FaultProxy, ForgetCondition

from . import setup_lab
from .setup_lab import KEYS

if TYPE_CHECKING:
    from .conftest import Lab, OpenSetupLab
    from .setup_lab import SetupLab

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(200)]

RUN = ("examples/hello.py", "run", "--with=gha")


def refused(lab: Lab, *command: str, **environment: str | None) -> str:
    """The message of a run that must not begin."""
    ended = lab.run(*command, **environment)
    assert ended.code == 1, ended.output
    assert "Traceback" not in ended.output
    assert "Task is starting" not in ended.output
    return " ".join(ended.output.split())


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ("workers=0", "workers must be a whole number from 1 to 256"),
        ("workers=257", "workers must be a whole number from 1 to 256"),
        ("timeout=-1", "timeout must be a whole number of 1 or more"),
        ("max_retries=x", "max_retries must be a whole number from 0 to 4"),
        ("max_retries=7", "max_retries must be a whole number from 0 to 4"),
    ],
)
def test_an_attribute_out_of_range(lab: Lab, attributes: str, sentence: str) -> None:
    message = refused(lab, "examples/hello.py", "run", f"--with=gha:{attributes}")
    assert sentence in message
    assert attributes in message


@pytest.mark.parametrize("other", ["batch", "kubernetes"])
def test_two_backends_on_one_step(lab: Lab, other: str) -> None:
    assert f"has both @gha and @{other}" in refused(lab, *RUN, f"--with={other}")


def test_a_datastore_that_is_not_s3(lab: Lab) -> None:
    assert "METAFLOW_DEFAULT_DATASTORE=s3" in refused(lab, *RUN, METAFLOW_DEFAULT_DATASTORE="local")


def test_no_root_of_the_datastore(lab: Lab) -> None:
    assert "METAFLOW_DATASTORE_SYSROOT_S3" in refused(lab, *RUN, METAFLOW_DATASTORE_SYSROOT_S3=None)


def test_a_root_that_is_no_place_in_s3(lab: Lab) -> None:
    assert "METAFLOW_DATASTORE_SYSROOT_S3=foo" in refused(
        lab, *RUN, METAFLOW_DATASTORE_SYSROOT_S3="foo"
    )


def test_an_endpoint_without_a_scheme(lab: Lab) -> None:
    message = refused(lab, *RUN, AWS_ENDPOINT_URL_S3="minio.example.org:9000")
    assert "export AWS_ENDPOINT_URL_S3=https://minio.example.org:9000" in message


def test_two_stores_at_once(lab: Lab) -> None:
    message = refused(lab, *RUN, METAFLOW_S3_ENDPOINT_URL="https://s3.example.org")
    assert "unset METAFLOW_S3_ENDPOINT_URL" in message


def test_another_bucket_than_the_repository_names(lab: Lab) -> None:
    message = refused(lab, *RUN, METAFLOW_DATASTORE_SYSROOT_S3="s3://sandbox/elsewhere")
    assert "export METAFLOW_DATASTORE_SYSROOT_S3=s3://sandbox/metaflow" in message


def test_a_word_for_the_sync_that_is_none(lab: Lab) -> None:
    message = refused(lab, *RUN, METAFLOW_GHA_SYNC_SECRETS="sometimes")
    assert "none of auto, always and never" in message


def test_a_session_token_left_over_in_the_repository(open_setup_lab: OpenSetupLab) -> None:
    lab = open_setup_lab(secrets=dict.fromkeys((*KEYS, "AWS_SESSION_TOKEN"), "x"))
    ended = run_refused(lab)
    assert "gh secret delete AWS_SESSION_TOKEN" in ended
    assert not any(request.startswith("POST") for request in lab.stand_in.requests())


def test_temporary_credentials_and_no_keys_in_the_repository(
    open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = open_setup_lab(secrets={})
    monkeypatch.setenv("AWS_SESSION_TOKEN", "for an hour")
    assert "--oidc-role" in run_refused(lab)
    assert lab.stand_in.secrets == {}


def test_a_workflow_that_is_not_pushed(open_setup_lab: OpenSetupLab) -> None:
    lab = open_setup_lab(workflow=False)
    lab.write_workflow()
    assert "git push --set-upstream origin main" in run_refused(lab)


@pytest.mark.parametrize(
    ("visibility", "asked", "sentence"),
    [
        ("public", "gpu=1", "ubuntu-latest on a public repository has 4 cores, 16384 MB, no GPU."),
        ("private", "cpu=4", "ubuntu-latest on a private repository has 2 cores, 8192 MB, no GPU."),
        ("public", "memory=4G", "on step start: memory must be a number above 0."),
    ],
)
def test_resources_that_no_vm_of_github_has(
    open_setup_lab: OpenSetupLab, visibility: str, asked: str, sentence: str
) -> None:
    lab = open_setup_lab(visibility=visibility)
    message = run_refused(lab, f"--with=resources:{asked}")
    assert f"@resources({asked})" in message
    assert sentence in message
    assert not any(request.startswith("POST") for request in lab.stand_in.requests())


def run_refused(lab: SetupLab, *options: str) -> str:
    """The message of a run in the lab's project, which must not begin."""
    shutil.copy(Path(__file__).resolve().parents[3] / "examples" / "hello.py", lab.project)
    ended = subprocess.run(
        [sys.executable, "hello.py", "run", "--with=gha", *options],
        cwd=lab.project,
        env={
            **os.environ,
            "METAFLOW_DEFAULT_DATASTORE": "s3",
            "METAFLOW_DATASTORE_SYSROOT_S3": setup_lab.ROOT,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    output = ended.stdout + ended.stderr
    assert "Traceback" not in output
    return " ".join(output.split())


def test_no_gh(lab: Lab, tmp_path: Path) -> None:
    git = subprocess.run(
        ["which", "git"], capture_output=True, text=True, check=True
    ).stdout.strip()
    (tmp_path / "git").symlink_to(git)
    assert "cli.github.com" in refused(lab, *RUN, GHA_DISPATCH_GH=None, PATH=str(tmp_path))


def test_gh_without_a_login(lab: Lab, tmp_path: Path) -> None:
    socket = Path(lab.site.environment["GH_CONFIG_DIR"], "config.yml").read_text()
    (tmp_path / "config.yml").write_text(socket)
    assert "gh auth login" in refused(lab, *RUN, GH_CONFIG_DIR=str(tmp_path))


def test_no_remote_on_github(lab: Lab, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    flow = str(Path(lab.site.directory, "examples", "hello.py"))
    ended = subprocess.run(
        ["python", flow, "run", "--with=gha"],
        cwd=tmp_path,
        env=lab.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "METAFLOW_GHA_USER_REPO" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_no_caller_workflow(lab: Lab) -> None:
    message = refused(lab, *RUN, METAFLOW_GHA_CALLER_WORKFLOW="other.yml")
    assert "gha inject" in message


def test_another_worker_than_the_workflow_names(lab: Lab) -> None:
    assert "gha inject" in refused(lab, *RUN, METAFLOW_GHA_WORKER_REF="v9")


def test_no_bucket(lab: Lab) -> None:
    message = refused(lab, *RUN, METAFLOW_DATASTORE_SYSROOT_S3="s3://nobody-has-this/metaflow")
    assert "nobody-has-this" in message


def test_an_endpoint_that_does_not_answer(lab: Lab) -> None:
    message = refused(lab, *RUN, AWS_ENDPOINT_URL_S3="http://127.0.0.1:9")
    assert "127.0.0.1:9" in message


def test_a_store_that_ignores_conditions(lab: Lab) -> None:
    with FaultProxy(lab.site.s3.endpoint) as proxy:
        proxy.plan = lambda _: ForgetCondition()
        message = refused(lab, *RUN, AWS_ENDPOINT_URL_S3=proxy.endpoint)
    assert "Cloudflare R2" in message


def test_a_sandbox_in_a_folder_that_holds_something_else(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "precious").touch()
    ended = subprocess.run(
        ["metaflow", "gha", "sandbox", "--in", str(tmp_path), "--", "true"],
        env=lab.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "is not empty and no sandbox" in ended.stderr
    assert (tmp_path / "repository" / "precious").exists()


@pytest.mark.parametrize(
    "command", [("show",), ("check",), ("gha", "inject"), ("gha", "doctor", "--json")], ids=" ".join
)
def test_commands_that_need_no_bucket_work_without_one(lab: Lab, command: tuple[str, ...]) -> None:
    nothing = {
        name: None for name in os.environ | lab.environment() if name.startswith(("AWS_", "GH_"))
    }
    nothing.update(
        METAFLOW_DEFAULT_DATASTORE=None, METAFLOW_DATASTORE_SYSROOT_S3=None, GHA_DISPATCH_GH=None
    )
    ended = lab.run("flows/decorated.py", *command, **nothing)
    # The doctor itself works, and says what a run would need.
    assert ended.code == ("doctor" in command), ended.output
    assert "Traceback" not in ended.output
