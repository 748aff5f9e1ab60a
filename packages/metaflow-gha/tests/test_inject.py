"""The caller workflow that `gha inject` writes."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from metaflow_extensions.gha.errors import GhaException
from metaflow_extensions.gha.launcher import inject
from metaflow_extensions.gha.launcher.settings import Settings

SETTINGS = Settings(
    datastore_root=None,
    endpoint=None,
    user_repo=None,
    worker_repo="npow/metaflow-gha",
    worker_workflow="worker.yml",
    worker_ref="main",
    caller_workflow="metaflow-gha.yml",
    dispatch_ref="",
)

WORKER = Path(__file__).resolve().parents[3] / ".github" / "workflows" / "worker.yml"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    return tmp_path


def test_the_worker_is_a_literal_and_no_input_can_choose_it() -> None:
    document = yaml.safe_load(inject.caller_workflow(SETTINGS))
    worker = document["jobs"]["worker"]
    assert worker["uses"] == "npow/metaflow-gha/.github/workflows/worker.yml@main"
    assert worker["with"]["worker-repository"] == "npow/metaflow-gha"
    assert worker["with"]["worker-ref"] == "main"


def test_every_input_and_secret_is_one_that_the_worker_declares() -> None:
    caller = yaml.safe_load(inject.caller_workflow(SETTINGS))["jobs"]["worker"]
    called = yaml.safe_load(WORKER.read_text())[True]["workflow_call"]
    assert set(caller["with"]) == set(called["inputs"])
    assert set(caller["secrets"]) == set(called["secrets"])


def test_one_lost_vm_does_not_take_its_siblings_along() -> None:
    strategy = yaml.safe_load(inject.caller_workflow(SETTINGS))["jobs"]["worker"]["strategy"]
    assert strategy["fail-fast"] is False
    assert strategy["max-parallel"] == 256


def test_a_ref_that_could_break_out_of_the_file_is_refused() -> None:
    with pytest.raises(GhaException, match="METAFLOW_GHA_WORKER_REPO"):
        inject.caller_workflow(replace(SETTINGS, worker_ref="main\n    evil: yes"))


def test_the_workflow_goes_to_the_top_of_the_repository_and_stays_as_it_is(
    repository: Path,
) -> None:
    first = list(inject.inject())
    path = repository / ".github" / "workflows" / "metaflow-gha.yml"
    assert path.is_file()
    assert "Wrote" in first[0]
    assert "up to date" in next(iter(inject.inject()))


def test_a_run_configured_for_another_worker_asks_to_inject_again(repository: Path) -> None:
    list(inject.inject())
    inject.check_literals(SETTINGS)
    with pytest.raises(GhaException, match="inject"):
        inject.check_literals(replace(SETTINGS, worker_ref="v2"))


def test_outside_a_repository_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(GhaException, match="git init"):
        list(inject.inject())
