"""The `@gha` step decorator: what Metaflow calls in the launcher, in each task's relay and on the VM.

Module level imports are the standard library and Metaflow only: this file is also imported on the VM,
in the user's own environment, where none of our other packages exist.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from metaflow.decorators import StepDecorator
from metaflow.metadata_provider import MetaDatum
from metaflow.metadata_provider.util import sync_local_metadata_to_datastore
from metaflow.metaflow_config import DATASTORE_LOCAL_DIR
from metaflow.packaging_sys import ContentType
from metaflow.plugins.timeout_decorator import get_run_time_limit_for_task

from metaflow_extensions.gha.errors import GhaException
from metaflow_extensions.gha.vm import ON_VM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from metaflow_extensions.gha.launcher.backend import Backend

# Metaflow keeps six attempts of a task at most: one first try, four retries and the @catch
# fallback.
LIMITS = {"workers": (1, 256), "timeout": (1, None), "max_retries": (0, 4)}

# @timeout raises inside the step; the VM's own limit comes this much later, so that the step can
# say so itself.
TIMEOUT_GRACE = 60


class GhaDecorator(StepDecorator):  # type: ignore[misc]  # Metaflow ships no types
    """
    Specifies that this step should execute on GitHub Actions VMs.

    Use `@resources` to say how many cores and how much memory (in MB) a task needs; as many tasks as fit share a VM.

    Parameters
    ----------
    workers : int, default 20
        The most VMs that the run may have at a time, 1 to 256. Where several steps say it, the largest counts.
        A run never starts more VMs than its graph and `--max-workers` can use.
    timeout : int, default 21600
        Seconds after which a try of the task is stopped on its VM. With `@timeout` the shorter one counts.
    max_retries : int, default 2
        How often a failed or lost try is repeated, 0 to 4. Where the step has `@retry`, `@retry` decides.
    """

    name = "gha"
    defaults = {"workers": 20, "timeout": 21600, "max_retries": 2}  # noqa: RUF012  # Metaflow's contract

    # @conda and @pypi resolve for the platform of the VM, not for the launcher's.
    supports_conda_environment = True
    target_platform = "linux-64"

    _backend: Backend | None = None

    def step_init(
        self,
        flow: Any,
        graph: Any,
        step: str,
        decos: list[Any],
        environment: Any,
        flow_datastore: Any,
        logger: Callable[..., None],
    ) -> None:
        """Check the attributes. Runs in every command and process, so it asks nothing of the outside."""
        self.step = step
        self.flow_datastore = flow_datastore
        self.environment = environment
        self.logger = logger
        self.siblings = decos
        for name, (low, high) in LIMITS.items():
            self.attributes[name] = _whole_number(step, name, self.attributes[name], low, high)
        for other in ("batch", "kubernetes"):
            if any(deco.name == other for deco in decos):
                raise GhaException(
                    f"Step *{step}* has both @gha and @{other}; a step runs in one place: remove one of them."
                )
        self.run_time_limit = min(
            self.attributes["timeout"], int(get_run_time_limit_for_task(decos)) + TIMEOUT_GRACE
        )

    def add_to_package(self) -> Iterator[tuple[str, str, ContentType]]:
        """Bring `requirements.txt` from beside the flow file: Metaflow packages Python files only."""
        path = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "requirements.txt")
        if os.path.isfile(path):
            yield path, "requirements.txt", ContentType.USER_CONTENT

    def runtime_init(self, flow: Any, graph: Any, package: Any, run_id: str) -> None:
        """Check what the run needs, once per run: datastore, bucket, `gh`, workflow."""
        from metaflow_extensions.gha.launcher.backend import Backend

        self._backend = Backend.for_run(
            flow, graph, package, run_id, self.flow_datastore, self.logger
        )

    def runtime_task_created(
        self,
        task_datastore: Any,
        task_id: str,
        split_index: int | None,
        input_paths: list[str],
        is_cloned: bool,
        ubf_context: str | None,
    ) -> None:
        """Upload the code package and start VMs with the first task that really runs."""
        if self._backend is not None and not is_cloned:
            self._backend.task_created()

    def runtime_step_cli(
        self, cli_args: Any, retry_count: int, max_user_code_retries: int, ubf_context: str | None
    ) -> None:
        """Send the task through `gha step`. The @catch fallback after the last try runs on this machine."""
        if self._backend is None or retry_count > max_user_code_retries:
            return
        package = self._backend.package
        cli_args.commands = ["gha", "step"]
        cli_args.command_args.extend([package.metadata, package.sha, package.url])
        cli_args.command_options.update(self.attributes)
        cli_args.command_options["run-time-limit"] = self.run_time_limit
        cli_args.command_options["queue"] = self._backend.queue_url
        # In place of another Metaflow process: a small one that lets this one do the work.
        cli_args.entrypoint = [*self._backend.relays.entrypoint, *cli_args.entrypoint[1:]]
        # @conda and @pypi would put an interpreter there that was made for the VM.
        for deco in self.siblings:
            if deco.name in ("conda", "pypi"):
                deco.interpreter = None

    def runtime_finished(self, exception: BaseException | None) -> None:
        """Close the queue. Also called while an exception passes that Metaflow does not report here."""
        if self._backend is not None:
            self._backend.finish(well=exception is None and sys.exc_info()[1] is None)

    def step_task_retry_count(self) -> tuple[int, int]:
        """Metaflow's own retries: each try has its number, its logs and its row in the UI."""
        if any(deco.name == "retry" for deco in self.siblings):
            return 0, 0
        return self.attributes["max_retries"], 0

    def task_pre_step(
        self,
        step_name: str,
        task_datastore: Any,
        metadata: Any,
        run_id: str,
        task_id: str,
        flow: Any,
        graph: Any,
        retry_count: int,
        max_user_code_retries: int,
        ubf_context: str | None,
        inputs: Any,
    ) -> None:
        """Write down on which VM of which workflow run this try ran."""
        if ON_VM not in os.environ:
            return
        self.metadata = metadata
        self.task_datastore = task_datastore
        # The step may change the directory; what is sent back at its end lies here.
        self.home = os.getcwd()
        facts = {
            "gha-vm": os.environ.get("GHA_WORKER_NAME"),
            "gha-run-url": os.environ.get("GHA_WORKER_RUN_URL"),
            "gha-runner-name": os.environ.get("RUNNER_NAME"),
        }
        entries = [
            MetaDatum(field=name, value=value, type=name, tags=[f"attempt_id:{retry_count}"])
            for name, value in facts.items()
            if value
        ]
        if entries:
            metadata.register_metadata(run_id, step_name, task_id, entries)

    def task_finished(
        self,
        step_name: str,
        flow: Any,
        graph: Any,
        is_task_ok: bool,
        retry_count: int,
        max_user_code_retries: int,
    ) -> None:
        """With local metadata, send what the VM wrote back through the datastore."""
        if ON_VM not in os.environ or not hasattr(self, "home") or self.metadata.TYPE != "local":
            return
        try:
            os.chdir(self.home)
            sync_local_metadata_to_datastore(DATASTORE_LOCAL_DIR, self.task_datastore)
        except Exception as error:  # noqa: BLE001  # the task is done: its record is not worth failing it
            sys.stderr.write(f"The metadata of this task could not be sent back: {error}\n")


def _whole_number(step: str, name: str, value: Any, low: int, high: int | None) -> int:
    """`value` as an int in range, or one sentence that says what would be right. From `--with` it comes as text."""
    bounds = f"from {low} to {high}" if high is not None else f"of {low} or more"
    try:
        number = int(str(value))
    except ValueError:
        number = None
    if number is None or number < low or (high is not None and number > high):
        raise GhaException(
            f"@gha({name}={value}) on step *{step}*: {name} must be a whole number {bounds}."
        )
    return number
