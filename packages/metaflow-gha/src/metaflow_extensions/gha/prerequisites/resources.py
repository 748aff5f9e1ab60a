"""What a step asks of its VM by @resources, and whether a VM of the run can ever give it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metaflow_extensions.gha.errors import GhaException, UnmetError
from metaflow_extensions.gha.prerequisites.addresses import Runners
from metaflow_extensions.gha.prerequisites.workflow import inject_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

GB = 1024

STANDARD = frozenset(
    {"ubuntu-latest", "ubuntu-24.04", "ubuntu-22.04", "ubuntu-24.04-arm", "ubuntu-22.04-arm"}
)
SLIM = "ubuntu-slim"


@dataclass(frozen=True)
class StepResources:
    """What one task of a step needs: `cpu` in cores, `memory_mb` None where nobody chose it."""

    cpu: float = 1.0
    memory_mb: int | None = None
    gpu: float = 0.0

    @classmethod
    def of(cls, step: str, decorators: Iterable[Any]) -> StepResources:
        """Read the step's @resources; without one, or in what it leaves open, a task is one of one core.

        Raises
        ------
        GhaException
            a value that is no amount
        """
        for deco in decorators:
            if deco.name == "resources":
                # The default of memory looks like any other text: only Metaflow knows who wrote it.
                chosen = {
                    name: _amount(step, name, deco.attributes[name])
                    for name in ("cpu", "memory", "gpu")
                    if name in deco._user_defined_attributes  # noqa: SLF001  # it has no other name
                    and deco.attributes[name] is not None
                }
                memory = chosen.get("memory")
                return cls(
                    cpu=chosen.get("cpu", cls.cpu),
                    memory_mb=None if memory is None else math.ceil(memory),
                    gpu=chosen.get("gpu", cls.gpu),
                )
        return cls()

    def excess(self, vm: VmSize) -> str:
        """The part of @resources that is more than `vm` has, as one writes it; empty where all fits."""
        parts = []
        if self.cpu > vm.cores:
            parts.append(f"cpu={self.cpu:g}")
        if (self.memory_mb or 0) > vm.memory_mb:
            parts.append(f"memory={self.memory_mb}")
        if self.gpu > vm.gpus:
            parts.append(f"gpu={self.gpu:g}")
        return f"@resources({', '.join(parts)})" if parts else ""


@dataclass(frozen=True)
class VmSize:
    """What a VM has; `title` says which one. The `gpus` of runners that are not GitHub's own are not known."""

    title: str
    cores: float
    memory_mb: float
    gpus: float = 0.0

    def __str__(self) -> str:
        gpu = "" if self.gpus else ", no GPU"
        return f"{self.title} has {self.cores:g} core{'s' * (self.cores != 1)}, {self.memory_mb:.0f} MB{gpu}"


def known_size(host: str, labels: Sequence[str], visibility: str) -> VmSize | None:
    """The size of the VMs that jobs with these labels get; None for runners of which nothing is known.

    A stand-in counts as the GitHub that it stands for: what is tried there shall run there.

    https://docs.github.com/en/actions/reference/runners/github-hosted-runners
    """
    if Runners.of(host, labels) is Runners.OWN or len(labels) != 1:
        return None
    (label,) = labels
    if label == SLIM:
        return VmSize(label, 1, 5 * GB)
    if label not in STANDARD:
        return None
    if visibility == "public":
        return VmSize(f"{label} on a public repository", 4, 16 * GB)
    return VmSize(f"{label} on a {visibility} repository", 2, 8 * GB)


def largest_of(told: Iterable[Any]) -> VmSize | None:
    """The most that VMs have, by what their workers told of themselves; None where none told anything."""
    machines = [info for info in told if isinstance(info, dict)]
    if not machines:
        return None
    return VmSize(
        "the largest VM so far",
        max(machine.get("cores") or math.inf for machine in machines),
        max(machine.get("memory_mb") or math.inf for machine in machines),
        gpus=math.inf,
    )


def require_room(steps: Mapping[str, StepResources], vm: VmSize) -> None:
    """Each of the steps, by name, must fit onto an empty VM; raises UnmetError for the first that does not."""
    for step, resources in steps.items():
        excess = resources.excess(vm)
        if excess:
            raise UnmetError(
                f"Step *{step}* asks for {excess}, and no VM of this run can give it: {vm}. "
                "Ask for less, or choose a larger runner, commit and push:",
                f"{inject_command()} --runs-on LABEL",
            )


def _amount(step: str, name: str, value: Any) -> float:
    """`value` as a number, from code, from the command line or from a Config."""
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    least = "a number of 0 or more" if name == "gpu" else "a number above 0"
    if not math.isfinite(number) or number < 0 or (number == 0 and name != "gpu"):
        raise GhaException(f"@resources({name}={value}) on step *{step}*: {name} must be {least}.")
    return number
