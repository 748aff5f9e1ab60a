"""The doctor: each red state with its remedy, and all green."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from gha_queue.testing import FaultProxy, ForgetCondition
from metaflow_extensions.gha.doctor import on_github
from metaflow_extensions.gha.doctor.checks import Check, Status
from metaflow_extensions.gha.inject.caller import CallerOptions
from metaflow_extensions.gha.prerequisites.addresses import Runners

from .setup_lab import KEYS, REPOSITORY, ROOT, WORKFLOW, variables

if TYPE_CHECKING:
    from .conftest import OpenSetupLab
    from .setup_lab import SetupLab

pytestmark = pytest.mark.timeout(120)

HELLO = Path(__file__).resolve().parents[3] / "examples" / "hello.py"
FLAG = f"--repo github.localhost/{REPOSITORY}"


def failed(checks: dict[str, Check], name: str) -> Check:
    """The check by this name, which must be red."""
    assert checks[name].status is Status.FAILED, checks
    return checks[name]


def not_ok(checks: dict[str, Check]) -> dict[str, Status]:
    return {name: c.status for name, c in checks.items() if c.status is not Status.OK}


def tools(lab: SetupLab, monkeypatch: pytest.MonkeyPatch, *names: str) -> Path:
    """Let PATH hold these commands and no other, and no gh be named."""
    folder = lab.project.parent / "bin"
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("GHA_DISPATCH_GH")
    return folder


def script(folder: Path, text: str) -> str:
    path = folder / "gh-of-the-test"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_all_is_green_where_all_is_there(open_setup_lab: OpenSetupLab) -> None:
    assert not_ok(open_setup_lab().examine()) == {}


def test_nothing_of_a_look_stays_behind(open_setup_lab: OpenSetupLab) -> None:
    lab = open_setup_lab()
    lab.examine()
    assert lab.git("status", "--porcelain") == ""
    assert {request.split()[0] for request in lab.stand_in.requests()} == {"GET"}
    assert not (lab.project.parent / "home").exists()


class TestGh:
    def test_no_gh(self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = open_setup_lab()
        tools(lab, monkeypatch, "git")
        checks = lab.examine()
        assert failed(checks, "gh").remedy == ("conda install --channel conda-forge gh",)
        for name in ("login", "visibility", "actions", "workflow", "secrets", "variables"):
            assert checks[name].status is Status.SKIPPED
            assert checks[name].found == "not checked: needs gh"
        assert checks["bucket"].status is Status.OK

    def test_an_old_gh(self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = open_setup_lab()
        old = script(lab.project.parent, "echo 'gh version 2.4.0 (2022-01-01)'")
        monkeypatch.setenv("GHA_DISPATCH_GH", old)
        assert "2.4.0" in failed(lab.examine(), "gh").found

    def test_a_gh_that_hangs_takes_bounded_time(
        self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = open_setup_lab()
        monkeypatch.setenv("GHA_DISPATCH_GH", script(lab.project.parent, "exec sleep 60"))
        monkeypatch.setattr(on_github, "CALL", 0.5)
        started = time.monotonic()
        assert failed(lab.examine(), "gh")
        assert time.monotonic() - started < 20

    def test_no_login(self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = open_setup_lab()
        config = lab.project.parent / "gh"
        config.mkdir()
        shutil.copy(Path(os.environ["GH_CONFIG_DIR"], "config.yml"), config)
        monkeypatch.setenv("GH_CONFIG_DIR", str(config))
        login = failed(lab.examine(), "login")
        assert login.remedy[-1].startswith("gh auth login --hostname github.localhost")

    def test_a_token_that_github_does_not_accept(
        self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = open_setup_lab()
        monkeypatch.setenv("GH_TOKEN", "invented")
        assert failed(lab.examine(), "login").remedy[0] == "unset GH_TOKEN"

    @pytest.mark.parametrize(
        ("scopes", "status"), [("gist", Status.FAILED), ("repo", Status.WARNING)]
    )
    def test_a_token_that_lacks_a_scope(
        self, open_setup_lab: OpenSetupLab, scopes: str, status: Status
    ) -> None:
        login = open_setup_lab(scopes=scopes).examine()["login"]
        assert login.status is status
        assert login.remedy == (
            "gh auth refresh --hostname github.localhost --scopes repo,workflow",
        )


class TestRepository:
    def test_no_repository_at_all(
        self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = open_setup_lab()
        place = lab.project.parent / "fresh"
        place.mkdir()
        monkeypatch.chdir(place)
        found = failed(lab.examine(), "repository")
        remote = "git remote add origin http://github.localhost/stand-in/fresh.git"
        assert found.remedy[:2] == ("git init", remote)

    def test_no_repository_and_no_login_guesses_no_owner(
        self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = open_setup_lab()
        lab.git("remote", "remove", "origin")
        monkeypatch.setenv("GH_TOKEN", "invented")
        found = failed(lab.examine(), "repository")
        assert found.remedy == ()
        assert "Log in first" in found.found

    def test_no_remote(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab()
        lab.git("remote", "remove", "origin")
        found = failed(lab.examine(), "repository")
        assert found.remedy[0].startswith("git remote add origin")

    def test_a_repository_that_does_not_exist(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab()
        lab.git("remote", "set-url", "origin", "http://github.localhost/octo/other.git")
        found = failed(lab.examine(), "visibility")
        assert found.remedy == ("gh repo create github.localhost/octo/other --private",)

    def test_nonsense_in_the_variable(self, open_setup_lab: OpenSetupLab) -> None:
        found = failed(open_setup_lab().examine(user_repo="no such thing"), "repository")
        assert found.remedy == ("unset METAFLOW_GHA_USER_REPO",)

    def test_a_login_that_may_only_read(self, open_setup_lab: OpenSetupLab) -> None:
        found = failed(open_setup_lab(role="read").examine(), "visibility")
        assert found.remedy == (f"gh repo fork github.localhost/{REPOSITORY} --remote",)

    def test_an_archived_repository(self, open_setup_lab: OpenSetupLab) -> None:
        assert (
            "archived=false"
            in failed(open_setup_lab(is_archived=True).examine(), "visibility").remedy[0]
        )

    @pytest.mark.parametrize(
        ("visibility", "runners", "words"),
        [
            ("public", Runners.HOSTED, "everybody can read the logs"),
            ("private", Runners.HOSTED, "$0.006"),
            ("private", Runners.OWN, "the runners are your own"),
        ],
    )
    def test_who_reads_and_who_pays(self, visibility: str, runners: Runners, words: str) -> None:
        assert words in on_github.terms(visibility, runners)

    def test_actions_disabled(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab()
        lab.stand_in.disable_actions()
        assert "actions/permissions -F enabled=true" in failed(lab.examine(), "actions").remedy[0]


class TestWorkflow:
    def test_from_nothing_its_commands_lead_to_green(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab(workflow=False)
        shutil.copy(HELLO, lab.project / "flow.py")
        found = failed(lab.examine(), "workflow")
        assert found.remedy[0] == "python flow.py gha inject"
        lab.follow(found.remedy)
        assert not_ok(lab.examine()) == {}

    def test_with_no_branch_checked_out_its_commands_make_one(
        self, open_setup_lab: OpenSetupLab
    ) -> None:
        lab = open_setup_lab(workflow=False)
        shutil.copy(HELLO, lab.project / "flow.py")
        lab.git("switch", "--quiet", "--detach")
        lab.follow(failed(lab.examine(), "workflow").remedy[:-1])  # all but the pull request
        assert lab.git("ls-remote", "--heads", "origin", "metaflow-gha")

    def test_a_remote_of_another_name_and_an_ignored_folder(
        self, open_setup_lab: OpenSetupLab
    ) -> None:
        lab = open_setup_lab(workflow=False)
        shutil.copy(HELLO, lab.project / "flow.py")
        (lab.project / ".gitignore").write_text(".*\n")
        lab.git("remote", "rename", "origin", "company")
        lab.follow(failed(lab.examine(), "workflow").remedy)
        assert not_ok(lab.examine()) == {}

    @pytest.mark.parametrize("name", ["../x y.yml", "metaflow-gha", ""])
    def test_a_name_that_is_none_of_a_workflow(
        self, open_setup_lab: OpenSetupLab, name: str
    ) -> None:
        found = failed(open_setup_lab().examine(caller_workflow=name), "workflow")
        assert found.remedy == ("unset METAFLOW_GHA_CALLER_WORKFLOW",)

    def test_written_and_not_committed(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab(workflow=False)
        lab.write_workflow()
        found = failed(lab.examine(), "workflow")
        assert found.remedy[0] == "git add .github"
        lab.follow(found.remedy)
        assert not_ok(lab.examine()) == {}

    def test_committed_and_not_pushed(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab(workflow=False)
        lab.write_workflow()
        lab.git("add", "--all")
        lab.git("commit", "--quiet", "--message=A workflow")
        found = failed(lab.examine(), "workflow")
        assert found.remedy == ("git push --set-upstream origin main",)
        lab.follow(found.remedy)
        assert not_ok(lab.examine()) == {}

    def test_pushed_to_another_branch(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab(workflow=False)
        lab.git("switch", "--quiet", "--create", "topic")
        lab.write_workflow()
        lab.push()
        assert failed(lab.examine(), "workflow").remedy == (
            "git push --set-upstream origin topic",
            f"gh pr create --fill --base main {FLAG}",
        )

    def test_a_repository_that_is_new_on_both_sides(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab(workflow=False)
        lab.git("branch", "--move", "master")
        lab.git("update-ref", "-d", "refs/remotes/origin/main")
        lab.write_workflow()
        found = failed(lab.examine(), "workflow")
        assert "git branch --move main" in found.remedy
        lab.follow(found.remedy)
        assert not_ok(lab.examine()) == {}

    def test_older_than_this_package(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab(workflow=False)
        (lab.project / WORKFLOW).parent.mkdir(parents=True)
        (lab.project / WORKFLOW).write_text("on: workflow_dispatch\njobs: {}\n")
        lab.push()
        found = failed(lab.examine(), "workflow")
        assert "older" in found.found
        assert found.remedy[0] == "python flow.py gha inject"

    def test_another_worker_than_configured(self, open_setup_lab: OpenSetupLab) -> None:
        assert (
            "METAFLOW_GHA_WORKER_REPO"
            in failed(open_setup_lab().examine(worker_ref="v9"), "workflow").found
        )

    def test_disabled(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab()
        lab.stand_in.disable_workflow("metaflow-gha.yml")
        found = failed(lab.examine(), "workflow")
        assert found.remedy == (f"gh workflow enable metaflow-gha.yml {FLAG}",)

    def test_edited_here(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab()
        path = lab.project / WORKFLOW
        path.write_text(path.read_text() + "\n# a remark\n")
        found = lab.examine()["workflow"]
        assert found.status is Status.WARNING
        assert found.remedy[0] == "git add .github"


class TestSecretsAndVariables:
    def test_missing_ones_are_set_by_the_commands(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab(secrets={}, variables={})
        checks = lab.examine()
        assert not_ok(checks) == {"secrets": Status.WARNING, "variables": Status.WARNING}
        assert checks["secrets"].remedy[0] == f"printenv {KEYS[0]} | gh secret set {KEYS[0]} {FLAG}"
        lab.follow(checks["secrets"].remedy + checks["variables"].remedy)
        assert not_ok(lab.examine()) == {}
        assert lab.stand_in.variables == variables(lab.s3)

    def test_a_session_token_left_over(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab(secrets=dict.fromkeys((*KEYS, "AWS_SESSION_TOKEN"), "x"))
        found = failed(lab.examine(), "secrets")
        assert found.remedy == (f"gh secret delete AWS_SESSION_TOKEN {FLAG}",)
        lab.follow(found.remedy)
        assert not_ok(lab.examine()) == {}

    def test_temporary_credentials_are_no_secret_to_store(
        self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = open_setup_lab(secrets={})
        monkeypatch.setenv("AWS_SESSION_TOKEN", "for an hour")
        found = failed(lab.examine(), "secrets")
        assert "--oidc-role" in found.remedy[0]

    def test_a_keyless_workflow_asks_for_no_keys(
        self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = open_setup_lab(secrets={}, workflow=False)
        lab.write_workflow(CallerOptions(oidc_role="arn:aws:iam::123456789012:role/vm"))
        lab.push()
        monkeypatch.setenv("AWS_SESSION_TOKEN", "for an hour")
        assert not_ok(lab.examine()) == {}

    def test_another_bucket_there(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab()
        found = failed(lab.examine(datastore_root="s3://setup-lab/elsewhere"), "variables")
        assert ROOT in found.found
        assert found.remedy[0] == f"export METAFLOW_DATASTORE_SYSROOT_S3={ROOT}"

    def test_another_region_there(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab()
        lab.follow((f"gh variable set AWS_REGION --body eu-west-1 {FLAG}",))
        found = lab.examine()["variables"]
        assert found.status is Status.WARNING
        assert found.remedy == (f"gh variable set AWS_REGION {FLAG} --body us-east-1",)

    def test_a_token_that_may_not_read_them_leaves_it_open(
        self, open_setup_lab: OpenSetupLab
    ) -> None:
        rights = {"actions": "write", "contents": "read", "metadata": "read"}
        checks = open_setup_lab(scopes=None, permissions=rights).examine()
        for name in ("secrets", "variables"):
            assert checks[name].status is Status.WARNING
            assert checks[name].found.startswith("not known")

    def test_an_unknown_mode(self, open_setup_lab: OpenSetupLab) -> None:
        assert (
            "none of auto, always and never"
            in failed(open_setup_lab().examine(sync_secrets="sometimes"), "secrets").found
        )


class TestStore:
    @pytest.mark.parametrize("root", [None, "foo", "s3://", "s3://UPPER/x"])
    def test_no_root_or_nonsense(self, open_setup_lab: OpenSetupLab, root: str | None) -> None:
        checks = open_setup_lab().examine(datastore_root=root)
        # what GitHub knows already is what this machine lacks
        export = f"export METAFLOW_DATASTORE_SYSROOT_S3={ROOT}"
        assert failed(checks, "datastore").remedy == (export,)
        assert checks["bucket"].found == "not checked: needs datastore"

    def test_another_datastore(self, open_setup_lab: OpenSetupLab) -> None:
        found = failed(open_setup_lab().examine(datastore="local"), "datastore")
        assert found.remedy == ("export METAFLOW_DEFAULT_DATASTORE=s3",)

    def test_no_credentials(
        self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = open_setup_lab()
        for name in KEYS:
            monkeypatch.delenv(name)
        checks = lab.examine()
        assert failed(checks, "credentials").remedy
        assert checks["secrets"].status is Status.OK  # GitHub has its own
        assert checks["conditional-writes"].found == "not checked: needs credentials"

    def test_a_profile_that_does_not_exist(
        self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = open_setup_lab()
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        assert "nobody" in failed(lab.examine(), "credentials").found

    def test_an_endpoint_without_a_scheme(self, open_setup_lab: OpenSetupLab) -> None:
        checks = open_setup_lab().examine(endpoint="minio.example.org:9000")
        assert failed(checks, "endpoint").remedy[0].endswith("=https://minio.example.org:9000")
        for name in ("bucket", "variables"):
            assert checks[name].found == "not checked: needs endpoint"

    def test_an_endpoint_of_this_machine(
        self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = open_setup_lab()
        tools(lab, monkeypatch, "git")
        # Without these the VMs must be taken for GitHub's own.
        lab.git("remote", "remove", "origin")
        monkeypatch.delenv("GH_HOST")
        assert lab.s3.endpoint in failed(lab.examine(), "endpoint").found

    def test_a_bucket_that_does_not_exist(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab()
        name = f"made-{os.getpid()}"
        checks = lab.examine(datastore_root=f"s3://{name}/x")
        made = failed(checks, "bucket").remedy
        assert name in made[0]
        lab.follow(made)
        assert lab.examine(datastore_root=f"s3://{name}/x")["bucket"].status is Status.OK

    def test_an_endpoint_that_never_answers(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab()
        with socket.create_server(("127.0.0.1", 0)) as silent:
            started = time.monotonic()
            checks = lab.examine(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert failed(checks, "bucket")
        assert time.monotonic() - started < 45

    def test_a_store_that_ignores_conditions(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab()
        with FaultProxy(lab.s3.endpoint) as proxy:
            proxy.plan = lambda _: ForgetCondition()
            checks = lab.examine(endpoint=proxy.endpoint)
        assert checks["bucket"].status is Status.OK
        assert "Cloudflare R2" in failed(checks, "conditional-writes").found

    def test_a_clock_that_is_wrong(
        self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = open_setup_lab()
        wrong = SimpleNamespace(time=lambda: time.time() + 600)
        monkeypatch.setattr("gha_queue._probe.time", wrong)
        clock = lab.examine()["clock"]
        assert clock.status is Status.WARNING
        assert "600 s ahead" in clock.found
        assert clock.remedy

    def test_a_metadata_service_that_is_not_named(self, open_setup_lab: OpenSetupLab) -> None:
        found = failed(open_setup_lab().examine(metadata="service"), "metadata")
        assert found.remedy[0] == "export METAFLOW_SERVICE_URL=https://HOST"

    def test_a_metadata_service_that_does_not_answer(self, open_setup_lab: OpenSetupLab) -> None:
        checks = open_setup_lab().examine(metadata="service", service_url="http://127.0.0.1:9")
        assert "does not answer" in failed(checks, "metadata").found


class TestCommand:
    def run(self, lab: SetupLab, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "METAFLOW_DATASTORE_SYSROOT_S3": ROOT,
            "METAFLOW_DEFAULT_DATASTORE": "s3",
            **extra,
        }
        shutil.copy(HELLO, lab.project / "flow.py")
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=lab.project,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    @pytest.mark.parametrize(
        "command", [("flow.py", "gha", "doctor"), ("-m", "metaflow.cmd.main_cli", "gha", "doctor")]
    )
    def test_both_commands_print_json_as_their_last_line(
        self, open_setup_lab: OpenSetupLab, command: tuple[str, ...]
    ) -> None:
        done = self.run(open_setup_lab(), *command, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout.splitlines()[-1])
        assert {check["status"] for check in report["checks"]} == {"ok"}
        assert set(report["checks"][0]) == {"name", "status", "found", "remedy"}

    def test_a_red_check_is_exit_code_1_and_commands_stand_whole_on_their_lines(
        self, open_setup_lab: OpenSetupLab
    ) -> None:
        lab = open_setup_lab(variables={"METAFLOW_DATASTORE_SYSROOT_S3": ROOT, "AWS_REGION": "x"})
        done = self.run(lab, "flow.py", "gha", "doctor", METAFLOW_GHA_WORKER_REF="v9", COLUMNS="40")
        assert done.returncode == 1
        assert "\x1b" not in done.stdout
        assert f"  gh variable set AWS_REGION {FLAG} --body us-east-1" in done.stdout.splitlines()

    def test_fix_sets_what_is_missing_and_touches_nothing_else(
        self, open_setup_lab: OpenSetupLab
    ) -> None:
        lab = open_setup_lab(
            workflow=False, secrets={KEYS[0]: "theirs"}, variables={"AWS_REGION": "eu-west-1"}
        )
        head = lab.git("rev-parse", "HEAD")
        done = self.run(lab, "flow.py", "gha", "doctor", "--fix")
        assert done.returncode == 1  # what is written must still be pushed
        assert (lab.project / WORKFLOW).is_file()
        assert lab.git("rev-parse", "HEAD") == head
        assert lab.stand_in.secrets == {KEYS[0]: b"theirs", KEYS[1]: b"invented"}
        assert lab.stand_in.variables == {**variables(lab.s3), "AWS_REGION": "eu-west-1"}
        assert "invented" not in done.stdout + done.stderr

    def test_fix_enables_the_workflow(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab()
        lab.stand_in.disable_workflow("metaflow-gha.yml")
        done = self.run(lab, "flow.py", "gha", "doctor", "--fix")
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.parametrize(
        "setting", [{"METAFLOW_GHA_SYNC_SECRETS": "never"}, {"GITHUB_ACTIONS": "true"}]
    )
    def test_what_is_missing_is_red_where_no_run_sets_it(
        self, open_setup_lab: OpenSetupLab, setting: dict[str, str]
    ) -> None:
        lab = open_setup_lab(secrets={}, variables={})
        done = self.run(lab, "flow.py", "gha", "doctor", "--fix", **setting)
        assert done.returncode == 1
        assert "the next run sets" not in done.stdout
        assert (lab.stand_in.secrets, lab.stand_in.variables) == ({}, {})

    def test_fix_does_what_it_can_where_another_thing_cannot_be_done(
        self, open_setup_lab: OpenSetupLab, tmp_path: Path
    ) -> None:
        lab = open_setup_lab(secrets={})
        outside = tmp_path / "outside"
        outside.mkdir()
        extra = {"METAFLOW_GHA_USER_REPO": f"github.localhost/{REPOSITORY}"}
        done = self.run(replace(lab, project=outside), "flow.py", "gha", "doctor", "--fix", **extra)
        assert "is not in a git repository" in done.stdout
        assert set(lab.stand_in.secrets) == set(KEYS)

    def test_never_means_that_fix_sets_nothing(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab(secrets={}, variables={})
        self.run(lab, "flow.py", "gha", "doctor", "--fix", METAFLOW_GHA_SYNC_SECRETS="never")
        assert (lab.stand_in.secrets, lab.stand_in.variables) == ({}, {})
