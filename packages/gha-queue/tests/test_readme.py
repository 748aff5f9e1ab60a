from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gha_queue import probe

if TYPE_CHECKING:
    from gha_queue.testing import S3Server

PACKAGE = Path(__file__).parents[1]
PLACE = "file:///tmp/squares"


def example() -> str:
    found = re.search(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("place", ["file", "s3", "memory"])
def test_the_example_of_the_readme_prints_what_it_says(
    server: S3Server, tmp_path: Path, place: str
) -> None:
    url = {"file": f"file://{tmp_path}/q", "s3": "s3://jobs/readme", "memory": "memory://q"}[place]
    code = example()
    assert PLACE in code
    said = re.search(r"# (\d+)$", code)
    assert said is not None
    ran = subprocess.run(
        [sys.executable, "-c", code.replace(PLACE, url)],
        cwd=tmp_path,
        env=server.environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.split() == [said[1]]


def test_the_example_is_short() -> None:
    lines = [line for line in example().splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 10


def test_every_place_that_the_pages_name_is_one() -> None:
    assert probe("memory://pages").place == "memory://pages"
    for page in ("README.md", "STORES.md"):
        assert set(re.findall(r"`(\w+)://", (PACKAGE / page).read_text())) == {
            "file",
            "memory",
            "s3",
        }
