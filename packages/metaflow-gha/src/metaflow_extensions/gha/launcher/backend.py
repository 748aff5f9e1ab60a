"""The run as the launcher sees it: checked before the first task, supervised while it runs, closed at its end."""

from __future__ import annotations

import atexit
import resource
import secrets
import signal
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from metaflow._vendor import click
from metaflow.runtime import MAX_WORKERS

from metaflow_extensions.gha.errors import GhaException
from metaflow_extensions.gha.launcher.code_package import CodePackage
from metaflow_extensions.gha.launcher.demand import graph_width
from metaflow_extensions.gha.launcher.relay_server import RelayServer
from metaflow_extensions.gha.launcher.supervisor import Run, Supervisor
from metaflow_extensions.gha.prerequisites.addresses import Runners
from metaflow_extensions.gha.prerequisites.repository import require_repository
from metaflow_extensions.gha.prerequisites.required_settings import (
    require_endpoint,
    require_root,
    require_s3,
    require_service,
)
from metaflow_extensions.gha.prerequisites.resources import StepResources, known_size, require_room
from metaflow_extensions.gha.prerequisites.secret_sync import SecretSync
from metaflow_extensions.gha.prerequisites.workflow import Checkout, require_workflow
from metaflow_extensions.gha.settings import PYTHON, QUEUES, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gha_dispatch import GitHub, RepositoryView
    from gha_queue import Queue

# Server seconds without a sign of the launcher after which the VMs stop by themselves.
KEEPALIVE = 120.0

# Open files that a run with the most tasks at once may need.
DESCRIPTORS = 8192


class Backend:
    """One run on GitHub Actions, shared by the decorators of all its steps."""

    _of_this_process: ClassVar[Backend | None] = None

    def __init__(
        self,
        package: Any,
        flow_datastore: Any,
        queue_url: str,
        supervisor: Supervisor,
        relays: RelayServer,
    ) -> None:
        self.queue_url = queue_url
        self.relays = relays
        self._metaflow_package = package
        self._flow_datastore = flow_datastore
        self._uploaded: CodePackage | None = None
        self._supervisor = supervisor

    @classmethod
    def for_run(
        cls,
        flow: Any,
        graph: Any,
        package: Any,
        run_id: str,
        flow_datastore: Any,
        say: Callable[..., None],
    ) -> Backend | None:
        """The run's backend, made with the first step that asks. Nothing for `spin`, which runs here.

        Raises
        ------
        GhaException
            what is missing, in one sentence with the next step
        """
        context = click.get_current_context(silent=True)
        if context is not None and context.info_name == "spin":
            return None
        if cls._of_this_process is None:
            cls._of_this_process = cls._start(flow, graph, package, run_id, flow_datastore, say)
        return cls._of_this_process

    @classmethod
    def _start(
        cls,
        flow: Any,
        graph: Any,
        package: Any,
        run_id: str,
        flow_datastore: Any,
        say: Callable[..., None],
    ) -> Backend:
        settings = Settings.load()
        require_s3(flow_datastore.TYPE)
        root = require_root(settings)
        require_endpoint(settings)
        decorators = {
            node.name: deco for node in graph for deco in node.decorators if deco.name == "gha"
        }
        asked = {
            step: StepResources.of(step, graph[step].decorators)
            for step in graph.sorted_nodes
            if step in decorators
        }
        github, view, sync = _github(settings, root, asked, say)
        name = f"{flow.name}/{run_id}.{secrets.token_hex(4)}"
        queue_url = f"{root}/{QUEUES}/{name}"
        queue = _queue(queue_url, settings)
        # What is now proven to open the bucket, and before a VM can ask for it.
        for line in _applied(sync):
            say(line, system_msg=True)
        limit = min(
            max(deco.attributes["workers"] for deco in decorators.values()),
            _max_workers(),
        )
        run = Run(
            title=f"{flow.name}/{run_id}",
            workflow=settings.caller_workflow,
            queue_path=f"{QUEUES}/{name}",
            limit=limit,
            first_wave=max(1, min(limit, first_width(graph, frozenset(decorators), view))),
            ref=settings.dispatch_ref or view.default_branch,
            python=PYTHON,
            steps=asked,
        )
        _raise_descriptor_limit()
        supervisor = Supervisor(queue, github, run, say)
        relays = RelayServer(click.get_current_context().obj, queue)
        backend = cls(package, flow_datastore, queue_url, supervisor, relays)
        atexit.register(relays.stop)
        atexit.register(supervisor.close, cancel=True)
        _close_on_signals(supervisor)
        supervisor.start()
        return backend

    @property
    def package(self) -> CodePackage:
        """The uploaded code package."""
        if self._uploaded is None:
            self._uploaded = CodePackage.upload(self._metaflow_package, self._flow_datastore)
        return self._uploaded

    def task_created(self) -> None:
        """A task that really runs is about to start: VMs are asked for, the code is put where they find it."""
        self._supervisor.begin()
        _ = self.package

    def finish(self, *, well: bool) -> None:
        """Close the queue: the VMs end their work and leave, or drop it and leave. Idempotent."""
        self._supervisor.close(cancel=not well)


def first_width(graph: Any, on_gha: frozenset[str], view: RepositoryView) -> int:
    """How many VMs the run may use from its first task on.

    Where minutes are free, the VMs of a foreach boot while its first step runs, however many items it will have.
    Where they are paid, they are asked for when the items are there.
    """
    if view.visibility == "public":
        return graph_width(graph, on_gha)
    return graph_width(graph, on_gha, foreach=1)


def _github(
    settings: Settings, root: str, asked: Mapping[str, StepResources], say: Callable[..., None]
) -> tuple[GitHub, RepositoryView, SecretSync | None]:
    """The repository, seen through the user's own `gh`, with the workflow that fits this run, and what it lacks.

    `asked` is what each step on VMs asks of them. Costs two requests, and four more when something here changed since
    the last run.
    """
    from gha_dispatch import DispatchError, GitHub, PermissionDeniedError, find_gh

    checkout = Checkout.look(settings)
    try:
        github = GitHub(find_gh(), require_repository(settings))
        workflow = github.workflow(settings.caller_workflow)
        try:
            options = require_workflow(
                workflow.source(settings.dispatch_ref or None),
                settings,
                checkout,
                str(github.repository),
            )
        except PermissionDeniedError:
            # Whether it is there, GitHub will say at the first dispatch.
            options = checkout.options
        if click.get_current_context().obj.metadata.TYPE == "service":
            require_service(settings, Runners.of(github.repository.host, options.runs_on))
        view = github.about()
        vm = known_size(github.repository.host, options.runs_on, view.visibility)
        if vm is not None:
            require_room(asked, vm)
        try:
            sync = SecretSync.compare(github, settings, root, options)
        except PermissionDeniedError as error:
            say(f"{error} Whether the VMs have all they need is not known.", system_msg=True)
            sync = None
        return github, view, sync
    except DispatchError as error:
        raise GhaException(str(error)) from None


def _applied(sync: SecretSync | None) -> Iterator[str]:
    """Set what the repository lacks; a line for each."""
    from gha_dispatch import DispatchError

    try:
        yield from sync.apply() if sync else ()
    except DispatchError as error:
        raise GhaException(str(error)) from None


def _queue(url: str, settings: Settings) -> Queue:
    """The run's queue, created: access and conditional writes are proven here, before the first task."""
    from gha_queue import Queue, QueueError

    try:
        queue = Queue(url, settings.s3_client())
        queue.create(keepalive=KEEPALIVE)
    except QueueError as error:
        raise GhaException(str(error)) from None
    return queue


def _raise_descriptor_limit() -> None:
    """Each task at once takes some five descriptors; the usual soft limit ends at fifty tasks, or two hundred."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _max_workers() -> int:
    """`--max-workers` of this run: more VMs than tasks at once are of no use."""
    context = click.get_current_context(silent=True)
    return int((context.params.get("max_workers") if context else None) or MAX_WORKERS)


def _close_on_signals(supervisor: Supervisor) -> None:
    """An interrupt, a termination or a closed terminal closes the queue at once, beside Metaflow's own clean-up."""
    if threading.current_thread() is not threading.main_thread():
        return

    def interrupted(number: int, _frame: object) -> None:
        # A thread, because the runtime first waits up to five seconds for its children.
        threading.Thread(target=supervisor.close, kwargs={"cancel": True}, daemon=True).start()
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # What nohup, or a shell's `&`, made us deaf to stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupted)
