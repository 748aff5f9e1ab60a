"""The stand-in as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dispatch_world import World, be_client, processes_with, until

from gha_dispatch import GitHub, Repository, find_gh
from gha_dispatch.testing import StandInConfig

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def process(world: World, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "t").mkdir()
    running = subprocess.Popen(
        [sys.executable, "-m", "gha_dispatch.testing", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": os.fspath(tmp_path / "t")},
        start_new_session=True,
    )
    with running:
        assert running.stdin is not None
        running.stdin.write(world.config(state=tmp_path / "state").to_json())
        running.stdin.close()
        yield running
        running.kill()


def start_job(
    process: subprocess.Popen[str], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    be_client(monkeypatch, ready["environment"], ready["cleared"])
    github = GitHub(find_gh(), Repository.parse("owner/project"))
    script = (
        "trap '' INT TERM HUP; echo a-word-in-the-log; "
        f"touch {world.out}/up; while :; do sleep 0.05; done"
    )
    inputs = {"title": "t", "vms": "[0]", "script": script}
    github.workflow("fleet.yml").dispatch(inputs, None, "t")
    until((world.out / "up").exists)
    assert processes_with(str(world.out))


def test_sigterm_ends_every_process_and_keeps_only_the_logs(
    process: subprocess.Popen[str], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_job(process, world, monkeypatch)
    assert list((tmp_path / "t").iterdir())
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert processes_with(str(world.out)) == []
    assert list((tmp_path / "t").iterdir()) == []
    (log,) = (tmp_path / "state").rglob("*.log")
    assert "a-word-in-the-log" in log.read_text()


def test_sigkill_ends_every_process(
    process: subprocess.Popen[str], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_job(process, world, monkeypatch)
    process.kill()
    until(lambda: processes_with(str(world.out)) == [])


def test_a_keeper_that_is_killed_takes_act_along(
    process: subprocess.Popen[str], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_job(process, world, monkeypatch)
    found = subprocess.run(
        ["pgrep", "--parent", str(process.pid), "--full", "keeper.py"],
        check=True,
        capture_output=True,
        text=True,
    )
    (keeper,) = map(int, found.stdout.split())
    (act,) = map(int, Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split())
    try:
        os.kill(keeper, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{act}").exists())
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        # The step itself ignores every signal that it can, and the one who would have killed it is gone.
        for pid in processes_with(str(world.out)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "not a JSON object"),
        ("{", "line 1 column 2"),
        ('{"name": "o/r"}', "missing field: directory, image"),
        ('{"name": "o/r", "directory": ".", "image": {}, "nosuch": 1}', "unknown field: nosuch"),
        ('{"name": "o", "directory": ".", "image": {}}', "not of the form owner/name"),
        (
            '{"name": "o/r", "directory": ".", "image": {}, "role": "boss"}',
            "not one of read, write",
        ),
        ('{"name": "o/r", "directory": ".", "image": 3}', "image is not an object"),
        (
            '{"name": "o/r", "directory": ".", "image": {}, "secrets": {"A": 1}}',
            "secrets is not an object of strings",
        ),
        ('{"name": "o/r", "directory": ".", "image": {}, "max_jobs": 0}', "max_jobs is 0"),
        ('{"name": "o/r", "directory": "/nosuch", "image": {}}', "has no branch checked out"),
    ],
)
def test_a_config_that_cannot_be_served_is_named_in_one_line(text: str, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gha_dispatch.testing", "-"],
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_who_cannot_tell_that_it_is_ready_does_not_stay(world: World, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "config.json").write_text(world.config().to_json())
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gha_dispatch.testing", os.fspath(tmp_path / "config.json")],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": os.fspath(tmp_path / "t")},
            timeout=30,
            check=False,
        )
    assert done.returncode == 2
    assert "No space left" in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "t").iterdir()) == []


def test_a_config_survives_its_json(world: World, tmp_path: Path) -> None:
    config = world.config(
        secrets={"A": "a"},
        organization_secrets={"B": "a"},
        organization_variables={"C": "c"},
        labels=("gpu",),
        state=tmp_path,
        visibility="private",
        role="write",
        scopes=None,
        permissions={"actions": "write"},
        oidc=False,
    )
    assert StandInConfig.from_json(config.to_json()) == config
    assert "'a'" not in repr(config)
