"""The extension loads from a wheel and from a checkout, also beside another extension."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parents[2]
SIBLINGS = ("gha-queue", "gha-dispatch", "gha-worker")
UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"

# Metaflow recognises an installed extension by a file that setuptools writes and other build tools do not; a second
# extension in the same environment is what makes the difference show.
OTHER = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "another-extension"
version = "1"

[tool.setuptools.packages.find]
where = ["src"]
include = ["metaflow_extensions*"]
namespaces = true
"""


SHOW = """
import metaflow
from metaflow.metaflow_version import get_version
print(callable(metaflow.gha), get_version())
"""


def uv(*command: str) -> None:
    done = subprocess.run([UV, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheels")
    for package in (*SIBLINGS, "metaflow-gha"):
        uv("build", "--quiet", "--wheel", "--out-dir", str(target), str(PACKAGES / package))
    return target


@pytest.fixture
def other(tmp_path: Path) -> Path:
    toplevel = tmp_path / "other" / "src" / "metaflow_extensions" / "other" / "toplevel"
    toplevel.mkdir(parents=True)
    (toplevel / "mfextinit_other.py").write_text('toplevel = "toplevel"\n')
    (toplevel / "toplevel.py").write_text('__mf_extensions__ = "other"\n__version__ = "1"\n')
    (tmp_path / "other" / "pyproject.toml").write_text(OTHER)
    return tmp_path / "other"


@pytest.mark.parametrize("way", ["wheel", "editable"])
def test_the_extension_loads_beside_another_one(
    way: str, wheels: Path, other: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "venv"
    uv("venv", "--quiet", "--python", sys.executable, str(environment))
    ours = (
        [str(wheel) for wheel in wheels.glob("*.whl")]
        if way == "wheel"
        else [word for name in (*SIBLINGS, "metaflow-gha") for word in ("-e", str(PACKAGES / name))]
    )
    python = environment / "bin" / "python"
    uv("pip", "install", "--quiet", "--python", str(python), *ours, str(other))
    shown = subprocess.run(
        [python, "-c", SHOW],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("True")
    assert "gha(0.1.0)" in shown.stdout
    assert "other(1)" in shown.stdout


def test_the_wheels_hold_what_metaflow_and_the_runners_need(wheels: Path) -> None:
    held = {name for wheel in wheels.glob("*.whl") for name in zipfile.ZipFile(wheel).namelist()}
    assert "metaflow_extensions/__init__.py" not in held
    assert "metaflow_gha-0.1.0.dist-info/top_level.txt" in held
    assert "gha_worker/workflows/worker.yml" in held
    assert "gha_worker/workflows/requirements.txt" in held
    assert "gha_dispatch/testing/actions/actions/checkout/action.yml" in held


def test_every_wheel_holds_the_licence_of_the_project(wheels: Path) -> None:
    licence = (PACKAGES.parent / "LICENSE").read_bytes()
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/LICENSE"))
            assert archive.read(name) == licence


def test_the_repository_runs_the_worker_that_the_package_ships() -> None:
    shipped = PACKAGES / "gha-worker" / "src" / "gha_worker" / "workflows" / "worker.yml"
    assert (
        PACKAGES.parent / ".github" / "workflows" / "worker.yml"
    ).read_bytes() == shipped.read_bytes()


@pytest.mark.e2e
@pytest.mark.timeout(400)
def test_from_wheels_and_an_empty_repository_the_sandbox_runs_a_flow(
    wheels: Path, tmp_path: Path
) -> None:
    environment, project = tmp_path / "venv", tmp_path / "project"
    project.mkdir()
    shutil.copy(PACKAGES.parent / "examples" / "hello.py", project / "flow.py")
    subprocess.run(["git", "init", "--quiet", str(project)], check=True)
    uv("venv", "--quiet", "--python", sys.executable, str(environment))
    python = environment / "bin" / "python"
    found = ["--find-links", str(wheels), "metaflow-gha[sandbox]"]
    uv("pip", "install", "--quiet", "--python", str(python), *found)
    done = subprocess.run(
        [
            *(environment / "bin" / "metaflow", "gha", "sandbox", "--"),
            *("python", "flow.py", "run", "--with=gha"),
        ],
        cwd=project,
        env={**os.environ, "METAFLOW_USER": "tester"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Hello, world!" in done.stdout
    assert sorted(path.name for path in project.iterdir()) == [".git", "flow.py"]
