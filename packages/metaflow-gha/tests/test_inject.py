"""The caller workflow that `gha inject` writes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from metaflow_extensions.gha.errors import GhaException
from metaflow_extensions.gha.inject import caller
from metaflow_extensions.gha.inject.caller import CallerOptions
from metaflow_extensions.gha.inject.inject import Wish, check_files, files, inject
from metaflow_extensions.gha.inject.worker_bundle import worker_workflow
from metaflow_extensions.gha.settings import Settings

SETTINGS = replace(
    Settings.load(),
    worker_repo="npow/metaflow-gha",
    worker_workflow="worker.yml",
    worker_ref="main",
    caller_workflow="metaflow-gha.yml",
)
CALLER = ".github/workflows/metaflow-gha.yml"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROLE = "arn:aws:iam::123456789012:role/runs"
BIN = Path(sys.executable).parent
FORMS = {
    "reusable": (CallerOptions(), ""),
    "pinned": (CallerOptions(pin=True), COMMIT),
    "standalone": (CallerOptions(standalone=True), ""),
    "oidc": (CallerOptions(oidc_role=ROLE), ""),
    "labels": (CallerOptions(runs_on=("self-hosted", "linux")), ""),
    "all": (CallerOptions(standalone=True, oidc_role=ROLE, runs_on=("ubuntu-24.04-arm",)), ""),
}
all_forms = pytest.mark.parametrize(("options", "commit"), FORMS.values(), ids=FORMS)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    return tmp_path


def text(options: CallerOptions | None = None, commit: str = "") -> str:
    return files(options or CallerOptions(), SETTINGS, commit)[CALLER]


def job(options: CallerOptions | None = None, commit: str = "") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text(options, commit))["jobs"]["worker"]
    return found


def test_the_worker_is_a_literal_and_no_input_can_choose_it() -> None:
    worker = job()
    assert worker["uses"] == "npow/metaflow-gha/.github/workflows/worker.yml@main"
    assert worker["with"]["worker-repository"] == "npow/metaflow-gha"
    assert worker["with"]["worker-ref"] == "main"


def test_a_pinned_worker_is_one_commit_with_its_name_beside_it() -> None:
    worker = job(CallerOptions(pin=True), COMMIT)
    assert worker["uses"] == f"npow/metaflow-gha/.github/workflows/worker.yml@{COMMIT}"
    assert worker["with"]["worker-ref"] == COMMIT
    assert f"@{COMMIT} # main\n" in text(CallerOptions(pin=True), COMMIT)


def test_a_standalone_repository_runs_the_worker_of_its_own_running_commit() -> None:
    worker = job(CallerOptions(standalone=True))
    assert worker["uses"] == "./.github/workflows/metaflow-gha-worker.yml"
    assert worker["with"]["worker-repository"] == "${{ github.repository }}"
    assert worker["with"]["worker-ref"] == "${{ github.sha }}"
    assert "npow" not in text(CallerOptions(standalone=True))


def test_with_a_role_no_stored_key_of_aws_is_named() -> None:
    worker = job(CallerOptions(oidc_role=ROLE))
    assert worker["with"]["role"] == ROLE
    assert worker["permissions"] == {"contents": "read", "id-token": "write"}
    assert list(worker["secrets"]) == ["METAFLOW_SERVICE_AUTH_KEY"]


def test_without_a_role_no_vm_can_prove_who_it_is() -> None:
    document = yaml.safe_load(text())
    assert document["permissions"] == {}
    assert document["jobs"]["worker"]["permissions"] == {"contents": "read"}


def test_one_lost_vm_does_not_take_its_siblings_along() -> None:
    assert job()["strategy"]["fail-fast"] is False
    assert job()["strategy"]["max-parallel"] == 256


@all_forms
def test_every_input_and_secret_is_one_that_the_worker_declares(
    options: CallerOptions, commit: str
) -> None:
    worker = job(options, commit)
    called = yaml.safe_load(worker_workflow())[True]["workflow_call"]
    required = {name for name, spec in called["inputs"].items() if spec.get("required")}
    assert required <= set(worker["with"]) <= set(called["inputs"])
    assert set(worker["secrets"]) <= set(called["secrets"])


@all_forms
@pytest.mark.parametrize(
    "linter",
    [
        ("zizmor", "--offline", "--pedantic", "--quiet", ".github/workflows"),
        ("act", "--validate", "--strict", "--workflows", ".github/workflows"),
        ("check-jsonschema", "--builtin-schema", "vendor.github-workflows"),
    ],
    ids=lambda command: command[0],
)
def test_every_form_is_clean(
    linter: tuple[str, ...], options: CallerOptions, commit: str, tmp_path: Path
) -> None:
    if not (BIN / linter[0]).exists():
        pytest.skip(f"{linter[0]} comes with the workspace's lint group")
    for path, content in files(options, SETTINGS, commit).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    paths = sorted(map(str, (tmp_path / ".github" / "workflows").iterdir()))
    done = subprocess.run(
        [str(BIN / linter[0]), *linter[1:], *(paths if linter[0] == "check-jsonschema" else [])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "setting",
    [
        {"worker_ref": "main\n    evil: yes"},
        {"worker_repo": "a/b c"},
        {"worker_workflow": "${{ x }}"},
    ],
    ids=str,
)
def test_a_setting_that_could_break_out_of_the_file_is_refused(setting: dict[str, str]) -> None:
    with pytest.raises(GhaException, match="METAFLOW_GHA_WORKER_REPO"):
        files(CallerOptions(), replace(SETTINGS, **setting))


@pytest.mark.parametrize(
    "role",
    [
        "runs",
        "arn:aws:iam::1234:role/runs",
        "arn:aws:iam::123456789012:user/me",
        f"{ROLE}'\n",
        "arn:aws:iam::123456789012:role/${{ inputs.title }}",
    ],
)
def test_what_is_no_role_is_refused(role: str) -> None:
    with pytest.raises(GhaException, match="arn:aws:iam"):
        CallerOptions(oidc_role=role)


@pytest.mark.parametrize("labels", [(), ("",), ("a", ""), ("${{ x }}",), ("a'",)])
def test_what_is_no_label_is_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(GhaException, match="--runs-on"):
        CallerOptions(runs_on=labels)


def test_the_files_go_to_the_top_of_the_repository_and_stay_as_they_are(repository: Path) -> None:
    first = list(inject(Wish()))
    assert (repository / CALLER).is_file()
    assert "Wrote" in first[0]
    assert list(inject(Wish())) == [f"{CALLER} is up to date."]
    assert check_files(Wish()) == f"{CALLER} is up to date."


def test_outside_a_repository_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(GhaException, match="git init"):
        list(inject(Wish()))


def test_a_missing_file_is_no_file_that_checks(repository: Path) -> None:
    with pytest.raises(GhaException, match="is missing"):
        check_files(Wish())


def test_a_changed_file_is_shown_and_kept_unless_forced(repository: Path) -> None:
    list(inject(Wish()))
    path = repository / CALLER
    written = path.read_text()
    path.write_text(written.replace("max-parallel: 256", "max-parallel: 3"))
    shown: list[str] = []
    with pytest.raises(GhaException, match="--force"):
        shown.extend(inject(Wish()))  # keeps what came before the error
    assert "-      max-parallel: 3" in shown
    assert "+      max-parallel: 256" in shown
    assert "max-parallel: 3" in path.read_text()
    with pytest.raises(GhaException, match="changed since"):
        check_files(Wish())
    list(inject(Wish(), force=True))
    assert path.read_text() == written


def test_a_file_of_somebody_else_is_not_overwritten(repository: Path) -> None:
    path = repository / CALLER
    path.parent.mkdir(parents=True)
    path.write_text("name: mine\n")
    with pytest.raises(GhaException, match="--force"):
        list(inject(Wish()))
    assert path.read_text() == "name: mine\n"


def test_an_older_version_s_file_is_renewed_with_its_options(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("metaflow_extensions.gha.inject.inject.__version__", "0.0.1")
        list(inject(Wish(oidc_role=ROLE, runs_on=("ubuntu-24.04-arm",))))
    with pytest.raises(GhaException, match=r"metaflow-gha 0\.0\.1"):
        check_files(Wish())
    said = list(inject(Wish()))
    assert f"--oidc-role {ROLE} --runs-on ubuntu-24.04-arm" in said[0]
    assert ROLE in (repository / CALLER).read_text()
    check_files(Wish())


def test_one_option_changes_and_the_others_stay(repository: Path) -> None:
    list(inject(Wish(oidc_role=ROLE, standalone=True)))
    with pytest.raises(GhaException, match="other options: --standalone"):
        check_files(Wish(oidc_role=""))
    list(inject(Wish(oidc_role="")))
    stamp = caller.read_stamp((repository / CALLER).read_text())
    assert stamp is not None
    assert stamp.options == CallerOptions(standalone=True)


def test_pinning_a_standalone_workflow_says_that_there_is_nothing_to_pin(repository: Path) -> None:
    list(inject(Wish(standalone=True)))
    with pytest.raises(GhaException, match="--reusable"):
        list(inject(Wish(pin=True)))


def test_pinning_without_gh_says_how_to_get_it_and_writes_nothing(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.delenv("GHA_DISPATCH_GH", raising=False)
    with pytest.raises(GhaException, match=r"cli\.github\.com"):
        list(inject(Wish(pin=True)))
    assert not (repository / CALLER).exists()


def test_back_from_standalone_nothing_of_it_is_left(repository: Path) -> None:
    list(inject(Wish(standalone=True)))
    assert (repository / ".github" / "metaflow-gha" / "gha-worker").is_dir()
    list(inject(Wish(standalone=False)))
    left = sorted(path.name for path in (repository / ".github").rglob("*"))
    assert left == ["metaflow-gha.yml", "workflows"]


def test_a_source_that_is_missing_changed_or_new_is_found(repository: Path) -> None:
    list(inject(Wish(standalone=True)))
    source = repository / ".github/metaflow-gha/gha-worker/src/gha_worker/_guard/guard.py"
    written = source.read_text()
    for spoil in (
        source.unlink,
        lambda: source.write_text("changed"),
        source.with_name("new.py").touch,
    ):
        spoil()
        with pytest.raises(GhaException, match="changed since"):
            check_files(Wish())
        source.write_text(written)
    list(inject(Wish(), force=True))
    assert not source.with_name("new.py").exists()
    check_files(Wish())


def test_an_upgrade_removes_what_the_earlier_version_had_more(repository: Path) -> None:
    list(inject(Wish(standalone=True)))
    path, gone = repository / CALLER, ".github/metaflow-gha/gha-worker/src/gha_worker/_gone.py"
    (repository / gone).write_text("x = 1\n")
    stamp = caller.read_stamp(path.read_text())
    assert stamp is not None
    earlier = {**files(stamp.options, SETTINGS), gone: "x = 1\n"}
    of_earlier = replace(stamp, checksum=caller.checksum(earlier), version="0.0.1")
    path.write_text(caller.without_stamp(path.read_text()) + of_earlier.line())
    with pytest.raises(GhaException, match=r"metaflow-gha 0\.0\.1"):
        check_files(Wish())
    list(inject(Wish()))
    assert not (repository / gone).exists()
    check_files(Wish())


def test_files_that_git_would_pass_over_are_to_be_added_by_force(repository: Path) -> None:
    (repository / ".gitignore").write_text("*.txt\n")
    assert "git add .github/workflows" in list(inject(Wish()))[-1]
    assert "git add --force .github " in list(inject(Wish(standalone=True)))[-1]


def test_what_to_do_next_names_the_branch_and_the_remote(repository: Path) -> None:
    for command in (["switch", "--create", "topic"], ["remote", "add", "company", "x"]):
        subprocess.run(["git", *command], cwd=repository, check=True, capture_output=True)
    assert list(inject(Wish()))[-1].endswith("&& git push --set-upstream company topic")


@pytest.mark.parametrize("name", ["../../x.yml", "/x.yml", "x", ".yml"])
def test_nothing_is_written_outside_the_folder_of_workflows(
    repository: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("metaflow.metaflow_config.GHA_CALLER_WORKFLOW", name)
    with pytest.raises(GhaException, match="METAFLOW_GHA_CALLER_WORKFLOW"):
        list(inject(Wish()))
    assert {path.name for path in repository.iterdir()} == {".git", "below"}


def test_caches_of_an_interpreter_are_nobody_s_change(repository: Path) -> None:
    list(inject(Wish(standalone=True)))
    cache = repository / ".github/metaflow-gha/gha-worker/src/gha_worker/__pycache__"
    cache.mkdir()
    (cache / "_guard.cpython-312.pyc").write_bytes(b"\xff\x00")
    check_files(Wish())


def test_line_endings_of_another_system_are_no_change(repository: Path) -> None:
    list(inject(Wish()))
    path = repository / CALLER
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    check_files(Wish())


@all_forms
def test_a_run_takes_what_inject_wrote(options: CallerOptions, commit: str) -> None:
    caller.check(text(options, commit), SETTINGS)


def test_a_run_takes_a_file_that_was_changed_but_not_in_what_matters() -> None:
    caller.check(text().replace("max-parallel: 256", "max-parallel: 3"), SETTINGS)


@pytest.mark.parametrize(
    ("options", "commit"), [FORMS["reusable"], FORMS["pinned"]], ids=["reusable", "pinned"]
)
@pytest.mark.parametrize(
    "setting", [{"worker_ref": "v2"}, {"worker_repo": "you/fork"}, {"worker_workflow": "w.yml"}]
)
def test_a_run_configured_for_another_worker_asks_to_inject_again(
    setting: dict[str, str], options: CallerOptions, commit: str
) -> None:
    with pytest.raises(GhaException, match="gha inject` again, commit and push"):
        caller.check(text(options, commit), replace(SETTINGS, **setting))


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "name: mine\n",
        lambda found: found.replace("gha-inject: {", "gha-inject: {{"),
        lambda found: found.replace('"format": 1', '"format": 0'),
        lambda found: found.replace("worker.yml@main", "worker.yml@other"),
    ],
    ids=["no stamp", "broken stamp", "older", "another ref"],
)
def test_a_run_refuses_a_workflow_that_it_does_not_understand(damage: Any) -> None:
    with pytest.raises(GhaException, match="gha inject` again, commit and push"):
        caller.check(damage(text()), SETTINGS)


def test_a_workflow_of_a_newer_package_asks_for_an_upgrade() -> None:
    newer = text().replace('"format": 1', '"format": 2').replace('"pin"', '"new": 1, "pin"')
    with pytest.raises(GhaException, match="pip install --upgrade"):
        caller.check(newer, SETTINGS)
