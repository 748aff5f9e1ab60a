"""The worker's own files: complete, locked, and enough to run it without an install."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from metaflow_extensions.gha.inject.caller import STANDALONE_DIRECTORY
from metaflow_extensions.gha.inject.worker_bundle import worker_sources, worker_workflow

ROOT = Path(__file__).resolve().parents[3]
UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
REQUIREMENTS = (
    ROOT / "packages" / "gha-worker" / "src" / "gha_worker" / "workflows" / "requirements.txt"
)
EXPORT = ("--package", "gha-worker", "--no-dev", "--no-emit-workspace", "--no-header")


def uv(*command: str) -> str:
    done = subprocess.run([UV, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_requirements_are_those_of_the_lock() -> None:
    assert REQUIREMENTS.read_text() == uv("export", "--frozen", "--quiet", *EXPORT)


def test_the_requirements_name_no_index_and_nothing_without_a_hash() -> None:
    text = REQUIREMENTS.read_text()
    assert "://" not in text
    entries = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)
    assert [entry for entry in entries if entry and "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("machine", ["x86_64-manylinux_2_28", "aarch64-manylinux_2_28"])
def test_every_python_of_a_launcher_finds_wheels_on_every_runner(
    version: str, machine: str, tmp_path: Path
) -> None:
    where = ("--target", str(tmp_path), "--python-version", version, "--python-platform", machine)
    how = ("--require-hashes", "--only-binary", ":all:", "--requirements", str(REQUIREMENTS))
    uv("pip", "install", "--dry-run", "--quiet", *where, *how)


def test_the_bundle_runs_the_worker_and_leaves_out_what_a_vm_does_not_use(tmp_path: Path) -> None:
    for path, text in worker_sources(STANDALONE_DIRECTORY).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    base = tmp_path / STANDALONE_DIRECTORY
    sources = [str(base / project / "src") for project in ("gha-queue", "gha-worker")]
    assert not [path for path in base.rglob("*") if path.name in {"testing", "cli", "__pycache__"}]
    assert (base / REQUIREMENTS.relative_to(ROOT / "packages")).is_file()
    script = (
        "import sys, gha_queue, gha_worker\n"
        f"assert all(m.__file__.startswith({str(base)!r}) for m in (gha_queue, gha_worker))\n"
        "from gha_queue import Queue\n"
        "from gha_worker.__main__ import main\n"
        f"queue = Queue({f'file://{tmp_path}/queue'!r})\n"
        "queue.create()\n"
        "queue.close()\n"
        f"main(['run', {f'file://{tmp_path}/queue'!r}])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sources), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_worker_s_last_word_is_exec_and_no_script_holds_an_input() -> None:
    scripts = re.findall(r"^ +(?:- )?run: (.*(?:\n {10,}\S.*)*)", worker_workflow(), re.MULTILINE)
    assert len(scripts) == 2
    assert not [script for script in scripts if "${{" in script]
    assert scripts[-1].startswith("exec ")
    assert worker_workflow().rindex("run: exec") > worker_workflow().rindex("uses:")


def test_a_vm_has_a_time_limit_and_the_permissions_of_its_caller() -> None:
    document = yaml.safe_load(worker_workflow())
    (job,) = document["jobs"].values()
    assert job["timeout-minutes"] == 360
    assert "permissions" not in document
    assert "permissions" not in job


def test_every_action_is_one_commit_with_its_version_beside_it() -> None:
    uses = re.findall(r"uses: (.*)", worker_workflow())
    assert len(uses) == 3
    assert [line for line in uses if not re.fullmatch(r"\S+@[0-9a-f]{40} # v[0-9.]+", line)] == []
