from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gha_dispatch import GitHub, Repository, find_gh
from gha_dispatch.testing import GitHubStandIn

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode adds no directory of its own

from typing import TYPE_CHECKING

from dispatch_world import World, enter

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def stand_in(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHubStandIn]:
    with GitHubStandIn(world.config()) as running:
        enter(monkeypatch, running)
        yield running


@pytest.fixture
def github(stand_in: GitHubStandIn) -> GitHub:
    return GitHub(find_gh(), Repository.parse("owner/project"))
