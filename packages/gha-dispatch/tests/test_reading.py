"""Workflow files and expressions as GitHub reads them."""

from __future__ import annotations

from typing import Any

import pytest

from gha_dispatch.testing._workflows.document import (
    InputsError,
    InvalidWorkflowError,
    dispatch_inputs,
    read_workflow,
    trigger,
)
from gha_dispatch.testing._workflows.expressions import ExpressionError, evaluate
from gha_dispatch.testing._workflows.matrix import MatrixError, combinations
from gha_dispatch.testing._workflows.permissions import excess, granted

CONTEXTS = {"inputs": {"list": "[1, 2]", "title": "Dig it", "yes": True}, "matrix": {"vm": 7}}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("plain", "plain"),
        ("a ${{ inputs.title }} (${{ matrix.vm }})", "a Dig it (7)"),
        ("${{ fromJSON(inputs.list) }}", [1, 2]),
        ("${{ fromJSON(inputs.list)[1] }}", 2),
        ("${{ inputs.YES && 'on' || 'off' }}", "on"),
        ("${{ !inputs.yes }}", False),
        ("${{ inputs.missing }}", None),
        ("<${{ inputs.missing }}>", "<>"),
        ("${{ inputs['title'] == 'dig IT' }}", True),
        ("${{ format('{0}-{1} {{}}', matrix.vm, 'it''s }}') }}", "7-it's }} {}"),
        ("${{ contains(fromJSON(inputs.list), 2) && startsWith(inputs.title, 'dig') }}", True),
        ("${{ matrix.vm > 3 }}${{ (1 < 2) }}", "truetrue"),
        ("${{ '1' == 1 }}", True),
        ({"a": ["${{ matrix.vm }}"]}, {"a": [7]}),
        (3, 3),
    ],
)
def test_an_expression_has_githubs_value(template: object, value: object) -> None:
    assert evaluate(template, CONTEXTS) == value


@pytest.mark.parametrize(
    "template",
    [
        "${{ needs.a }}",
        "${{ hashFiles('x') }}",
        "${{ inputs. }}",
        "${{ 1 + 1 }}",
        "${{ }}",
        "${{ fromJSON('x') }}",
        "${{ (1 }}",
        "${{ 1 2 }}",
        "${{ inputs.list.* }}",
    ],
)
def test_an_expression_that_is_not_known_is_refused(template: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(template, CONTEXTS)


def test_a_workflow_is_yaml_1_2() -> None:
    document = read_workflow("on: push\njobs: {a: {env: {A: yes, B: 0o7, C: 2026-01-01, D: true}}}")
    assert trigger(document, "push") == {}
    assert document["jobs"]["a"]["env"] == {"A": "yes", "B": "0o7", "C": "2026-01-01", "D": True}


@pytest.mark.parametrize("text", ["", "- a", "on: push", "a: [", "jobs: 3"])
def test_what_is_no_workflow_is_refused(text: str) -> None:
    with pytest.raises(InvalidWorkflowError):
        read_workflow(text)


@pytest.mark.parametrize(
    ("declared", "given"),
    [
        ({"a": {"type": "choice", "options": ["x", "y"]}}, {"a": "z"}),
        ({"a": {"type": "boolean"}}, {"a": "yes"}),
        ({"a": {"type": "number"}}, {"a": "x"}),
        ({"a": {"required": True}}, {}),
        ({"a": None}, {"b": ""}),
        ({"a": None}, {"a": "x" * 65_536}),
    ],
)
def test_inputs_are_checked_as_github_does(declared: dict[str, Any], given: dict[str, str]) -> None:
    with pytest.raises(InputsError):
        dispatch_inputs(declared, given)


def test_defaults_stand_in_for_inputs() -> None:
    declared = {"a": {"default": True, "required": True}, "b": {"default": 3}, "c": None}
    assert dispatch_inputs(declared, {"b": "4"}) == {"a": "true", "b": "4", "c": ""}


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ({"a": [1, 2]}, [{"a": 1}, {"a": 2}]),
        ({"a": [1, 2], "b": [3]}, [{"a": 1, "b": 3}, {"a": 2, "b": 3}]),
        ({"a": [1, 2], "exclude": [{"a": 1}]}, [{"a": 2}]),
        ({"include": [{"a": 1}, {"a": 2}]}, [{"a": 1}, {"a": 2}]),
        ({"a": [1, 2], "include": [{"a": 1, "x": 9}]}, [{"a": 1, "x": 9}, {"a": 2}]),
        ({"a": [1], "include": [{"x": 1}, {"a": 5}]}, [{"a": 1, "x": 1}, {"a": 5}]),
    ],
)
def test_a_matrix_expands_as_github_does(matrix: object, expected: list[dict[str, int]]) -> None:
    assert combinations(matrix) == expected


@pytest.mark.parametrize(
    "matrix", [{}, {"a": []}, {"a": 1}, [1], {"a": [*range(16)], "b": [*range(17)]}]
)
def test_a_matrix_without_jobs_or_with_too_many_is_refused(matrix: object) -> None:
    with pytest.raises(MatrixError):
        combinations(matrix)


@pytest.mark.parametrize(
    ("held", "asked", "beyond"),
    [
        ({"contents": "read"}, {"contents": "read"}, []),
        ({"contents": "read"}, {"contents": "write"}, ["contents: write"]),
        ({"contents": "read"}, {"id-token": "write"}, ["id-token: write"]),
        ({"contents": "read"}, None, []),
        ({"id-token": "write"}, {"id-token": "write"}, []),
        ({}, {"contents": "read"}, ["contents: read"]),
        ({}, {}, []),
        (None, {"contents": "read"}, []),
        (None, {"contents": "write"}, ["contents: write"]),
        ("write-all", {"id-token": "write"}, []),
        ("read-all", {"id-token": "write"}, ["id-token: write"]),
        ("read-all", "read-all", []),
    ],
)
def test_permissions_beyond_the_callers_are_named(
    held: object, asked: object, beyond: list[str]
) -> None:
    assert excess(asked, granted(held)) == beyond
