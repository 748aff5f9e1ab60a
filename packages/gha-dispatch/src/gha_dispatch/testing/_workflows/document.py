"""A workflow file as GitHub reads it: YAML 1.2, its triggers, and its inputs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from gha_dispatch.testing._workflows.expressions import as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

Document: TypeAlias = dict[str, Any]  # the mapping at the top of a workflow file

MAX_INPUTS = 25
MAX_CHARACTERS = 65_535


class InvalidWorkflowError(ValueError):
    """A file that is no workflow."""


class InputsError(ValueError):
    """Inputs that the workflow does not take, in GitHub's words."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema: `on`, `yes` and dates are plain text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+0123456789."),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first)
    )


def read_workflow(text: str) -> Document:
    """Read a workflow file. Raises InvalidWorkflowError."""
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 -- a SafeLoader
    except yaml.YAMLError as error:
        raise InvalidWorkflowError(f"the file is no YAML: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("jobs"), dict):
        raise InvalidWorkflowError("the file has no jobs")
    return document


def trigger(document: Document, name: str) -> Mapping[str, Any] | None:
    """What stands under `on: NAME`, empty when nothing does; None without that trigger."""
    on = document.get("on")
    if isinstance(on, str):
        on = [on]
    if isinstance(on, list):
        on = dict.fromkeys(on)
    if not isinstance(on, dict) or name not in on:
        return None
    return on[name] or {}


def dispatch_inputs(declared: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """The inputs of a dispatch with their defaults. Raises InputsError as GitHub's 422 does.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
    """
    if len(given) > MAX_INPUTS:
        raise InputsError(
            f"Invalid request.\n\nFor 'properties/inputs', no more than {MAX_INPUTS} properties "
            f"are allowed; {len(given)} were supplied."
        )
    if sum(len(name) + len(value) for name, value in given.items()) > MAX_CHARACTERS:
        raise InputsError(f"inputs are too large: more than {MAX_CHARACTERS} characters")
    unknown = sorted(set(given) - set(declared))
    if unknown:
        listed = ", ".join(f'"{name}"' for name in unknown)
        raise InputsError(f"Unexpected inputs provided: [{listed}]")
    complete = {}
    for name, raw in declared.items():
        spec = raw or {}
        value = given.get(name)
        if value is None and spec.get("required") and "default" not in spec:
            raise InputsError(f"Required input '{name}' not provided")
        complete[name] = as_text(spec.get("default")) if value is None else value
        if value is not None and not _is_allowed(spec, value):
            raise InputsError(f"Provided value '{value}' for input '{name}' is not allowed by it")
    return complete


def typed_inputs(declared: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The `inputs` context: booleans and numbers have their type."""
    typed = dict(given)
    for name, raw in declared.items():
        value = typed.get(name)
        if (raw or {}).get("type") == "boolean":
            typed[name] = value in (True, "true")
        elif (raw or {}).get("type") == "number" and isinstance(value, str) and value:
            typed[name] = float(value)
    return typed


def _is_allowed(spec: Mapping[str, Any], value: str) -> bool:
    kind = spec.get("type", "string")
    if kind == "choice":
        return value in map(as_text, spec.get("options") or [])
    if kind == "boolean":
        return value in {"true", "false"}
    if kind == "number":
        return re.fullmatch(r"-?\d+(\.\d+)?", value) is not None
    return True
