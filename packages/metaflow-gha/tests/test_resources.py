"""What a step asks for by @resources, and steps that no VM of the run can hold."""

from __future__ import annotations

from typing import Any

import pytest
from metaflow.plugins.resources_decorator import ResourcesDecorator

from metaflow_extensions.gha.errors import GhaException, UnmetError
from metaflow_extensions.gha.prerequisites.resources import (
    StepResources,
    VmSize,
    known_size,
    largest_of,
    require_room,
)

SMALL = VmSize("ubuntu-latest on a private repository", 2, 8192)


def asked(**attributes: Any) -> StepResources:
    return StepResources.of("train", [ResourcesDecorator(attributes)])


def test_a_step_that_asks_for_nothing_is_one_of_one_core_and_leaves_its_memory_to_the_vm() -> None:
    assert StepResources.of("train", []) == asked() == StepResources(1.0, None, 0.0)


def test_what_a_step_leaves_open_is_not_chosen_though_metaflow_has_a_default() -> None:
    assert asked(cpu=2).memory_mb is None
    assert asked(memory=4096).memory_mb == 4096
    assert asked(memory="4096").memory_mb == 4096
    assert asked(memory=4096).cpu == 1.0


def test_amounts_may_be_text_fractions_or_absent() -> None:
    assert asked(cpu="0.5", memory="16000.0", gpu="1") == StepResources(0.5, 16000, 1.0)
    assert asked(cpu=None, memory=None, gpu=None) == StepResources()
    assert asked(cpu=1.5, memory=100.2).memory_mb == 101


def test_a_step_may_say_that_it_needs_no_gpu() -> None:
    assert asked(gpu=0).gpu == 0


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("cpu", "many"), ("cpu", 0), ("cpu", -1), ("memory", "nan"), ("memory", "4G"), ("gpu", -1)],
)
def test_what_is_no_amount_is_refused_by_its_name(attribute: str, value: object) -> None:
    with pytest.raises(GhaException) as refused:
        asked(**{attribute: value})
    assert f"@resources({attribute}={value}) on step *train*" in refused.value.message


@pytest.mark.parametrize(
    ("label", "visibility", "cores", "memory_mb"),
    [
        ("ubuntu-latest", "public", 4, 16384),
        ("ubuntu-24.04-arm", "public", 4, 16384),
        ("ubuntu-22.04", "private", 2, 8192),
        ("ubuntu-22.04-arm", "internal", 2, 8192),
        ("ubuntu-slim", "public", 1, 5120),
        ("ubuntu-slim", "private", 1, 5120),
    ],
)
def test_the_standard_vms_of_github_are_known(
    label: str, visibility: str, cores: int, memory_mb: int
) -> None:
    size = known_size("github.com", [label], visibility)
    assert size is not None
    assert (size.cores, size.memory_mb) == (cores, memory_mb)


@pytest.mark.parametrize(
    ("host", "labels"),
    [
        ("github.com", ["self-hosted"]),
        ("github.com", ["ubuntu-latest-16-cores"]),
        ("github.com", ["ubuntu-latest", "large"]),
        ("github.example.org", ["ubuntu-latest"]),
        ("github.localhost", ["my-own"]),
    ],
    ids=["own", "larger", "several", "enterprise-server", "own-in-the-sandbox"],
)
def test_of_other_runners_nothing_is_known(host: str, labels: list[str]) -> None:
    assert known_size(host, labels, "public") is None


def test_steps_that_fit_an_empty_vm_pass() -> None:
    require_room({"a": StepResources(2, 8192), "b": StepResources()}, SMALL)


@pytest.mark.parametrize(
    ("resources", "shown"),
    [
        (StepResources(cpu=4), "@resources(cpu=4)"),
        (StepResources(memory_mb=16000), "@resources(memory=16000)"),
        (StepResources(cpu=2, gpu=1), "@resources(gpu=1)"),
        (StepResources(2.5, 1_000_000, 1), "@resources(cpu=2.5, memory=1000000, gpu=1)"),
    ],
)
def test_a_step_that_no_vm_can_hold_is_told_what_it_asks_and_what_there_is(
    resources: StepResources, shown: str
) -> None:
    with pytest.raises(UnmetError) as refused:
        require_room({"start": StepResources(), "train": resources}, SMALL)
    assert refused.value.found == (
        f"Step *train* asks for {shown}, and no VM of this run can give it: ubuntu-latest on a private repository "
        "has 2 cores, 8192 MB, no GPU. Ask for less, or choose a larger runner, commit and push:"
    )
    assert refused.value.remedy == ("python flow.py gha inject --runs-on LABEL",)


def test_what_vms_told_of_themselves_counts_where_their_kind_is_not_known() -> None:
    told = [{"cores": 2.0, "memory_mb": 8192}, None, {"cores": 8.0, "memory_mb": 4096}]
    largest = largest_of(told)
    assert largest is not None
    require_room({"train": StepResources(8, 8192, gpu=1)}, largest)
    with pytest.raises(UnmetError, match=r"the largest VM so far has 8 cores, 8192 MB\."):
        require_room({"train": StepResources(9)}, largest)


def test_of_vms_that_told_nothing_nothing_is_held_against_a_step() -> None:
    assert largest_of([]) is None
    untold = largest_of([{"run_url": "https://github.com/o/r/actions/runs/1"}])
    assert untold is not None
    require_room({"train": StepResources(256, 1_000_000)}, untold)
