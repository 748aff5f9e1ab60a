from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from gha_worker import CommandJob
from gha_worker.__main__ import main
from gha_worker._command_line.verdict import MEANINGS

if TYPE_CHECKING:
    from conftest import Workers

    from gha_queue import Queue

README = (Path(__file__).parents[1] / "README.md").read_text()
PLACE = "file:///tmp/fleet"
REPORTS = "file:///tmp/reports"


def block(language: str) -> str:
    """The first block of code in this language."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return next(str(text) for name, text in blocks if name == language)


def column(title: str) -> list[str]:
    """The first column of the table whose head begins so."""
    rows = README[README.index(f"| {title} |") :].split("\n\n")[0].splitlines()[2:]
    return [row.split(" | ")[0].removeprefix("| ") for row in rows]


def test_the_example_prints_what_the_page_says(tmp_path: Path) -> None:
    example = block("sh")
    assert PLACE in example
    assert len(example.splitlines()) <= 10
    programs = Path(sys.executable).parent
    ran = subprocess.run(
        ["bash", "-c", example.replace(PLACE, f"file://{tmp_path}/fleet")],
        cwd=tmp_path,
        env={"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    assert ran.stdout == block(""), ran.stderr
    assert "succeeded" in (tmp_path / "worker.log").read_text()


def test_the_python_example_prints_the_log_and_how_it_went(queue: Queue, workers: Workers) -> None:
    workers.start()
    example = block("python").replace(f'Queue("{REPORTS}")', f'Queue.attach("{queue.url}")')
    assert queue.url in example
    ran = subprocess.run(
        [sys.executable, "-c", example],
        env=workers.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout == "the report of 2026\nThe script ended with exit code 0.\n"


def test_every_field_of_a_job_is_explained() -> None:
    assert {name.strip("`") for name in column("field")} == {one.name for one in fields(CommandJob)}


def test_every_option_on_the_page_is_one() -> None:
    known = {
        name for command in main.commands.values() for each in command.params for name in each.opts
    }
    named = set(re.findall(r"--[a-z][a-z-]+", re.sub(r"```.*?```", "", README, flags=re.DOTALL)))
    assert named - known == set()


def test_every_exit_code_is_explained_as_the_help_does() -> None:
    assert column("exit code") == list(MEANINGS)
    assert all(meaning in README for meaning in MEANINGS.values())
