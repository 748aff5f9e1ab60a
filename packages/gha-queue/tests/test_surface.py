from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

import gha_queue
from gha_queue import testing


@pytest.mark.parametrize("module", [gha_queue, testing])
def test_public_names_are_sorted_and_there(module: object) -> None:
    names: list[str] = module.__all__  # type: ignore[attr-defined]
    assert names == sorted(names)
    assert all(hasattr(module, name) for name in names)


def test_importing_the_package_does_not_import_boto3() -> None:
    code = "import sys, gha_queue, gha_queue.testing; sys.exit('botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_error_is_a_queue_error() -> None:
    errors = [
        value
        for value in vars(gha_queue).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert len(errors) > 15
    assert all(issubclass(error, gha_queue.QueueError) for error in errors)


def test_records_can_be_pickled() -> None:
    job = gha_queue.Job("a", {"x": [1]})
    assert pickle.loads(pickle.dumps(job)) == job  # noqa: S301 - our own bytes
