"""The doctor: each red state with its remedy, and all green."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaflow_extensions.gha.setup.checks import Status

if TYPE_CHECKING:
    from .conftest import OpenSetupLab


def test_all_is_green_where_all_is_there(open_setup_lab: OpenSetupLab) -> None:
    checks = open_setup_lab().examine()
    assert {check.status for check in checks.values()} == {Status.OK}
