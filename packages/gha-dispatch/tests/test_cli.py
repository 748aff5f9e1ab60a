"""The command line as a shell meets it: output, exit codes, one sentence per error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from dispatch_world import World, ended, enter, git, until

from gha_dispatch.cli._exits import MEANINGS, Exit, exit_for
from gha_dispatch.cli._output import one_line
from gha_dispatch.cli._runs import shows_inputs
from gha_dispatch.testing import Fault, FaultKind, GitHubStandIn

if TYPE_CHECKING:
    from pathlib import Path

    from gha_dispatch import GitHub

FIELDS = ("-f", "title=t-1", "-f", "vms=[0]")


def shell(
    *arguments: str, stdin: str = "", directory: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gha_dispatch", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
    )


@pytest.fixture(autouse=True)
def given_repository(monkeypatch: pytest.MonkeyPatch, stand_in: GitHubStandIn) -> None:
    monkeypatch.setenv("GH_REPO", "github.localhost/owner/project")


def test_run_prints_the_url_that_status_and_cancel_take(github: GitHub, world: World) -> None:
    script = f"script=touch {world.out}/up; exec sleep 60"
    done = shell("run", ".github/workflows/fleet.yml", *FIELDS, "-f", script)
    assert (done.returncode, done.stderr) == (0, "")
    url = done.stdout.strip()
    until((world.out / "up").exists)
    shown = shell("status", url)
    assert shown.returncode == 0
    run, job = (line.split("\t") for line in shown.stdout.splitlines())
    assert run == ["run", "in_progress", "fleet t-1", url]
    assert job[:3] == ["job", "in_progress", "worker (0) / run"]
    cancelled = shell("cancel", url, "--json")
    number = int(url.rpartition("/")[2])
    assert json.loads(cancelled.stdout) == {"id": number, "url": url}
    assert ended(github, number).conclusion == "cancelled"
    again = shell("cancel", str(number))
    assert again.returncode == Exit.REFUSED
    assert again.stderr == (
        f"gha-dispatch: The workflow run {number} of github.localhost/owner/project is over; "
        "there is nothing to cancel.\n"
    )


@pytest.mark.parametrize(
    ("script", "code", "conclusion"), [("true", 0, "success"), ("exit 3", 1, "failure")]
)
def test_a_run_that_is_waited_for_gives_its_conclusion(
    script: str, code: int, conclusion: str
) -> None:
    arguments = ("--wait", "--json", "--marker", "t-1")
    done = shell("run", "fleet.yml", *FIELDS, "-f", f"script={script}", *arguments)
    shown = json.loads(done.stdout)
    assert (done.returncode, shown["conclusion"]) == (code, conclusion)
    assert [job["conclusion"] for job in shown["jobs"]] == [conclusion]
    assert done.stderr == f"gha-dispatch: waiting for {shown['url']}\n"
    again = shell("status", "--wait", str(shown["id"]), "--json")
    assert (again.returncode, json.loads(again.stdout)) == (code, shown)
    (listed,) = shell("status", "-w", "fleet.yml", "--json").stdout.splitlines()
    assert json.loads(listed) == {key: shown[key] for key in shown if key != "jobs"}


def test_a_wait_that_is_too_short_says_that_the_run_goes_on(world: World, github: GitHub) -> None:
    script = f"script=until [ -e {world.out}/go ]; do sleep 0.05; done"
    done = shell("run", "fleet.yml", *FIELDS, "-f", script, "--wait", "--timeout", "0")
    assert done.returncode == Exit.TIMED_OUT
    assert "goes on" in done.stderr
    (world.out / "go").touch()
    ended(github, github.workflow("fleet.yml").runs()[0].id)


def test_inputs_come_as_json_on_stdin_and_fields_win(github: GitHub, world: World) -> None:
    inputs = {"title": "t-1", "vms": "[0]", "script": f"echo -n $VM > {world.out}/vm"}
    done = shell(
        "run", "fleet.yml", "--inputs", "-", "-f", "vms=[7]", "--wait", stdin=json.dumps(inputs)
    )
    assert done.returncode == 0, done.stderr
    assert (world.out / "vm").read_text() == "7"


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (("run", "fleet.yml", "-f", "title"), "", "'title' is no input: write KEY=VALUE"),
        (("run", "fleet.yml", "--inputs", "-"), "[1]", "a JSON object whose values are strings"),
        (("run", "fleet.yml", "--inputs", "-"), "{", "that is no JSON"),
        (("run", "fleet.yml", "--timeout", "5"), "", "--timeout is for --wait"),
        (("run", "fleet.yml", *FIELDS, "--marker", "x-9"), "", "'x-9' is in none of the inputs"),
        (("run", "fleet.yml", *FIELDS, "--marker", ""), "", "'' is in none of the inputs"),
        (("run", ""), "", "'' is no file in .github/workflows"),
        (("status", "-w", "a/b.yml"), "", "'a/b.yml' is no file in .github/workflows"),
        (("run", "plain.yml", "-f", "a=b", "--marker", "b"), "", "run-name of plain.yml shows no"),
        (("status",), "", "Give one run, or a workflow"),
        (("status", "x"), "", "'x' is no run: give its number or its URL"),
        (("status", "-w", "fleet.yml", "--wait"), "", "--wait is for one run"),
        (("cancel", "²"), "", "is no run"),
        (("cancel", "9" * 5000), "", "is no run"),
        (("secrets", "set", "1X"), "v", "'1X' is no name for a secret"),
        (("secrets", "set", "X"), "", "The secret X is empty"),
        (("secrets", "set", "X", "--env", "NOT_SET"), "", "NOT_SET is not set"),
        (("variables", "delete", "A-B"), "", "has no A-B"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_changed(
    world: World, stand_in: GitHubStandIn, arguments: tuple[str, ...], stdin: str, words: str
) -> None:
    world.write_caller(
        "plain.yml", "run-name: by ${{ github.actor }}\non: workflow_dispatch\njobs: {}\n"
    )
    done = shell(*arguments, stdin=stdin)
    expected = Exit.REFUSED if "delete" in arguments else Exit.USAGE
    assert (done.returncode, done.stdout) == (expected, ""), done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert (stand_in.runs(), stand_in.secrets) == ([], {})


def test_secrets_come_on_stdin_or_from_a_variable_and_are_listed_by_name(
    stand_in: GitHubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_HERE", " a b ")
    done = shell("secrets", "set", "key", stdin="a-value\r\n\n")
    assert done.stdout == "Set KEY of github.localhost/owner/project\n"
    assert shell("secrets", "set", "OTHER", "--env", "FROM_HERE", "--json").returncode == 0
    assert stand_in.secrets == {"KEY": b"a-value", "OTHER": b" a b "}
    assert shell("secrets", "list").stdout == "KEY\trepository\nOTHER\trepository\n"
    assert shell("secrets", "delete", "key").stdout == (
        "Deleted KEY of github.localhost/owner/project\n"
    )
    listed = json.loads(shell("secrets", "list", "--json").stdout)
    assert listed == {"repository": ["OTHER"], "organization": []}
    again = shell("secrets", "delete", "KEY")
    assert (again.returncode, again.stdout) == (Exit.REFUSED, "")


def test_variables_are_set_and_listed_with_their_values(stand_in: GitHubStandIn) -> None:
    assert shell("variables", "set", "NEW", stdin="1\n").returncode == 0
    listed = shell("variables", "list").stdout
    assert listed == "NEW\t1\trepository\nREGION\teu-1\trepository\n"
    done = shell("variables", "delete", "NEW", "--json")
    assert json.loads(done.stdout) == {
        "name": "NEW",
        "repository": "github.localhost/owner/project",
    }
    remaining = json.loads(shell("variables", "list", "--json").stdout)
    assert remaining == {"repository": {"REGION": "eu-1"}, "organization": {}}


def test_what_an_organization_shares_is_listed_as_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = world.config(
        secrets={"OWN": "a-value"},
        organization_secrets={"OWN": "another-value", "SHARED": "a-value"},
        organization_variables={"REGION": "eu-2", "STAGE": "b"},
    )
    with GitHubStandIn(config) as stand_in:
        enter(monkeypatch, stand_in)
        monkeypatch.setenv("GH_REPO", "github.localhost/owner/project")
        assert shell("secrets", "list").stdout == "OWN\trepository\nSHARED\torganization\n"
        listed = shell("variables", "list").stdout
        assert listed == "REGION\teu-1\trepository\nSTAGE\tb\torganization\n"
        secrets = json.loads(shell("secrets", "list", "--json").stdout)
        assert secrets == {"repository": ["OWN"], "organization": ["SHARED"]}
        variables = json.loads(shell("variables", "list", "--json").stdout)
        assert variables == {"repository": {"REGION": "eu-1"}, "organization": {"STAGE": "b"}}


def test_whoami_tells_who_where_and_what_is_allowed(github: GitHub) -> None:
    done = shell("whoami")
    facts = dict(line.split("\t") for line in done.stdout.splitlines())
    assert facts == {
        "host": "github.localhost",
        "account": "stand-in",
        "scopes": "gist, read:org, repo, workflow",
        "gh": f"{github.gh.version()} ({github.gh.path})",
        "repository": "owner/project (public)",
        "access": "admin: may dispatch, and set secrets and variables",
    }
    shown = json.loads(shell("whoami", "--json").stdout)
    assert shown["scopes"] == ["gist", "read:org", "repo", "workflow"]
    assert shown["gh"] == {"version": github.gh.version(), "path": os.fspath(github.gh.path)}
    assert (shown["repository"]["visibility"], shown["push"], shown["admin"]) == (
        "public",
        True,
        True,
    )


def test_whoami_needs_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GH_REPO")
    done = shell("whoami", directory=tmp_path)
    assert done.returncode == 0
    assert "account\tstand-in\n" in done.stdout
    assert "repository\tnone here" in done.stdout
    assert json.loads(shell("whoami", "--json", directory=tmp_path).stdout)["repository"] is None


@pytest.mark.parametrize(
    ("config", "account", "access"),
    [
        ({"role": "read"}, "stand-in", "read: may not dispatch"),
        (
            {"role": "write", "scopes": "gist"},
            "stand-in",
            "write: may dispatch, and set secrets and variables, but the login lacks the scope repo",
        ),
        (
            {"scopes": None},
            "stand-in",
            "admin: may dispatch, and set secrets and variables",
        ),
    ],
)
def test_whoami_tells_what_is_lacking(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, object],
    account: str,
    access: str,
) -> None:
    with GitHubStandIn(world.config(**config)) as stand_in:
        enter(monkeypatch, stand_in)
        monkeypatch.setenv("GH_REPO", "owner/project")
        facts = dict(line.split("\t") for line in shell("whoami").stdout.splitlines())
        assert (facts["account"], facts["access"]) == (account, access)


def test_a_runs_url_tells_the_repository(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = github.workflow("fleet.yml").dispatch({"title": "t", "vms": "[0]"})
    monkeypatch.setenv("GH_REPO", "github.localhost/owner/another")
    done = shell("status", "--wait", run.url, directory=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "has no workflow run" in shell("status", str(run.id)).stderr


def test_an_empty_repository_is_not_taken_for_the_one_here(world: World) -> None:
    git(world.caller, "remote", "add", "origin", "http://github.localhost/owner/project.git")
    for command in (("whoami",), ("variables", "list"), ("secrets", "delete", "KEY")):
        done = shell(*command, "--repo", "", directory=world.caller)
        assert (done.returncode, done.stdout) == (Exit.NOT_READY, "")
        assert "'' names no repository" in done.stderr


def test_the_repository_is_read_off_the_remotes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GH_REPO")
    git(world.caller, "remote", "add", "origin", "http://github.localhost/owner/project.git")
    assert shell("variables", "list", directory=world.caller).stdout.startswith("REGION\teu-1\t")


@pytest.mark.parametrize(
    ("fault", "arguments", "code"),
    [
        (
            Fault(FaultKind.REFUSE, "GET", "/secrets$", 503, times=4),
            ("secrets", "list"),
            Exit.UNREACHABLE,
        ),
        (
            Fault(FaultKind.REFUSE, "GET", "/secrets$", 403, headers=(("Retry-After", "600"),)),
            ("secrets", "list"),
            Exit.UNREACHABLE,
        ),
        (Fault(FaultKind.REFUSE, "GET", "/secrets$", 401), ("secrets", "list"), Exit.NOT_READY),
        (Fault(FaultKind.REFUSE, "GET", "/secrets$", 418), ("secrets", "list"), Exit.REFUSED),
        (
            Fault(FaultKind.LOSE, "POST", "/dispatches$"),
            ("run", "fleet.yml", *FIELDS),
            Exit.UNCLEAR,
        ),
    ],
)
def test_an_error_is_one_sentence_on_stderr_and_an_exit_code(
    stand_in: GitHubStandIn, fault: Fault, arguments: tuple[str, ...], code: Exit
) -> None:
    stand_in.inject(fault)
    done = shell(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("gha-dispatch: ")
    assert line.endswith(".")


def test_whoever_stops_reading_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m gha_dispatch --help | true; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() in {"0", str(int(Exit.PIPE_CLOSED))}
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("whoami > /dev/full", Exit.MACHINE, "this machine fails"),
        ("secrets list >&-", Exit.OK, ""),
        ("secrets set KEY <&-", Exit.USAGE, "There is no stdin"),
        ("PYTHONIOENCODING=ascii variables list", Exit.OK, ""),
    ],
)
def test_broken_outputs_and_inputs_are_no_tracebacks(
    stand_in: GitHubStandIn, github: GitHub, line: str, code: Exit, words: str
) -> None:
    github.variables.set("KEY", "é")
    *assigned, command = line.split(" ", 1) if line.startswith("PYTHON") else [line]
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(assigned)} {sys.executable} -m gha_dispatch {command}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_wait_says_that_the_run_goes_on(world: World, github: GitHub) -> None:
    script = f"script=until [ -e {world.out}/go ]; do sleep 0.05; done"
    # whoever runs the tests in the background has taught them to ignore Ctrl-C
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from gha_dispatch.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", "fleet.yml", *FIELDS, "-f", script, "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(20) == Exit.INTERRUPTED
        finally:
            process.kill()
        assert process.stderr.read().strip() == (
            f"gha-dispatch: {url} goes on; `gha-dispatch cancel` ends it"
        )
    (world.out / "go").touch()
    ended(github, int(url.rpartition("/")[2]))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("run-name: a ${{ inputs.title }}\n", True),
        ("on: push\nrun-name: >-\n  a\n  ${{ github.event.inputs.title }}\njobs: {}\n", True),
        ("run-name: a ${{ github.actor }}\nenv: {A: '${{ inputs.title }}'}\n", False),
        ("run-name: inputs\n", False),
        ("env:\n  run-name: ${{ inputs.title }}\n", False),
        ("", False),
    ],
)
def test_a_run_name_shows_inputs_or_not(source: str, expected: bool) -> None:
    assert shows_inputs(source) is expected


def test_foreign_text_says_nothing_to_the_terminal() -> None:
    assert one_line("a\x1b[31m\tb\r\n\x07c") == "a [31m b c"


def test_every_exit_code_has_a_meaning_and_every_error_a_code() -> None:
    from gha_dispatch import DispatchError

    assert set(MEANINGS) == set(Exit)
    assert exit_for(DispatchError("any")) is Exit.REFUSED
