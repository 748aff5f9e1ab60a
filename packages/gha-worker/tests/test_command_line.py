from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Workers


def test_a_queue_that_does_not_exist_is_one_sentence(workers: Workers) -> None:
    worker = workers.start(url="s3://jobs/nowhere")
    assert worker.wait() == 1
    assert worker.log() == (
        "gha-worker: there is no queue at s3://jobs/nowhere: its owner must create it first, as "
        "`gha-queue put` does\n"
    )


@pytest.mark.parametrize(
    ("url", "code"), [("s3://no-such-bucket/q", 1), ("ftp://host/q", 2), ("nonsense", 2)]
)
def test_a_queue_that_cannot_be_used_is_one_sentence(workers: Workers, url: str, code: int) -> None:
    worker = workers.start(url=url)
    assert worker.wait() == code
    assert worker.log().startswith("gha-worker: ")
    assert worker.log().count("\n") == 1


def test_a_work_dir_that_cannot_be_made_is_one_sentence(workers: Workers, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    worker = workers.start("--work-dir", str(tmp_path / "file" / "x"))
    assert worker.wait() == 1
    assert "gha-worker: This machine cannot run jobs" in worker.log()
    assert "Traceback" not in worker.log()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["s3://b/q", "--lifetime", "0"],
        ["s3://b/q", "--idle-timeout", "nan"],
        ["s3://b/q", "--cores", "nan"],
        ["s3://b/q", "--cores", "inf"],
        ["s3://b/q", "--x"],
    ],
)
def test_wrong_usage_exits_with_two(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "gha_worker", "run", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("Usage: ")


def test_an_s3_client_is_not_imported_for_help() -> None:
    code = "import sys, gha_worker.__main__; print('boto3' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert answer.stdout == b"False\n"
