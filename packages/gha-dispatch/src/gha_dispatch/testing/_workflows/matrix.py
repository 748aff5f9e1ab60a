"""The combinations of a job's matrix, with GitHub's limits.

https://docs.github.com/en/actions/how-tos/write-workflows/choose-what-workflows-do/run-job-variations
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

MAX_JOBS = 256


class MatrixError(ValueError):
    """A matrix from which GitHub makes no jobs."""


def combinations(matrix: object) -> list[dict[str, Any]]:
    """Expand an evaluated matrix. Raises MatrixError when it is empty or above 256 jobs."""
    if not isinstance(matrix, Mapping):
        raise MatrixError("the matrix is no mapping")
    vectors = {key: value for key, value in matrix.items() if key not in {"include", "exclude"}}
    for name, values in vectors.items():
        if not isinstance(values, list) or not values:
            raise MatrixError(f"the matrix vector {name!r} holds no values")
    excluded = matrix.get("exclude") or []
    found: list[dict[str, Any]] = []
    if vectors:
        product = (
            dict(zip(vectors, values, strict=True))
            for values in itertools.product(*vectors.values())
        )
        found = [one for one in product if not any(_fits(one, out) for out in excluded)]
    originals = [dict(one) for one in found]
    for extra in matrix.get("include") or []:
        hosts = [
            one
            for one, original in zip(found, originals, strict=False)
            if all(original[key] == value for key, value in extra.items() if key in original)
        ]
        for one in hosts:
            one.update(extra)
        if not hosts:
            found.append(dict(extra))
    if not found:
        raise MatrixError("the matrix is empty")
    if len(found) > MAX_JOBS:
        raise MatrixError(f"the matrix makes {len(found)} jobs; GitHub allows {MAX_JOBS}")
    return found


def _fits(one: Mapping[str, Any], pattern: Mapping[str, Any]) -> bool:
    return all(one.get(key) == value for key, value in pattern.items())
