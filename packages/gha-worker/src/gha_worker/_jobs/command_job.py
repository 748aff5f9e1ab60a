"""The command job: what a queue's payload says, and nothing else."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gha_worker._errors import InvalidJobError, RefusedSecretError, UnsupportedVersionError

FORMAT = 1
READABLE = (1,)

DEFAULT_TIMEOUT = 21600.0
"""Seconds: the age a GitHub-hosted VM can reach."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFUSED = re.compile(r"GITHUB_TOKEN|GH_TOKEN|G(ITHUB|H)_ENTERPRISE_TOKEN|ACTIONS_.*")
_NAME_LENGTH = 200


class OnStop(str, Enum):
    """What becomes of a running job when its worker is told to stop."""

    RELEASE = "release"
    """Give it back: another worker runs it again and no attempt is used up."""

    FAIL = "fail"
    """End the attempt: for work that must not start again over what it has half written."""


@dataclass(frozen=True)
class Prepare:
    """A script that runs once per `key` and worker before the first job that names the key.

    What it leaves in ``GHA_WORKER_PREPARED``, where it runs, is shared by all jobs of the key, which
    find it under the same name. What it leaves in ``GHA_WORKER_TEMPLATE`` is where each of them
    starts: a cheap copy becomes the job's own directory.
    """

    key: str
    script: str


@dataclass(frozen=True)
class Server:
    """A script that stays, and runs one job after another in place of a new process for each.

    Jobs with the same `script` and the same preparation share it; `request` is JSON of the job's
    own that the server gets. The protocol stands in the package's README. A job whose server does
    not begin it runs as a plain process: the two must do the same.
    """

    script: str
    request: Any = None


@dataclass(frozen=True)
class Resources:
    """What a job needs of its machine: `cpu` in cores, `memory_mb` None when nobody chose it."""

    cpu: float = 1.0
    memory_mb: int | None = None


@dataclass(frozen=True)
class CommandJob:
    """One command: a bash `script` with its environment and limits.

    `env` holds plain values and is readable by everybody who can read the bucket; `secrets` are
    names only, and their values come from the worker's own environment. `timeout` is in seconds
    and covers `prepare` too. `name` is printed in public logs; the job's id stands in when empty.
    With `log` the worker keeps the job's output in the queue's prefix, while it runs and for good.

    Raises :class:`InvalidJobError` for every value that could not run.
    """

    script: str
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    prepare: Prepare | None = None
    timeout: float = DEFAULT_TIMEOUT
    resources: Resources = Resources()
    on_stop: OnStop = OnStop.RELEASE
    name: str = ""
    server: Server | None = None
    log: bool = False

    def __post_init__(self) -> None:
        _check_kinds(self)
        _check_text("run.script", self.script)
        for name, value in self.env.items():
            _check_variable("env", name)
            _check_text(f"env.{name}", value, empty=True)
        for name in self.secrets:
            _check_variable("secrets", name)
            if _REFUSED.fullmatch(name.upper()):
                raise RefusedSecretError(name)
        if self.prepare is not None:
            _check_text("prepare.key", self.prepare.key)
            _check_text("prepare.script", self.prepare.script)
        if self.server is not None:
            _check_text("server.script", self.server.script)
            _check_json("server.request", self.server.request)
        if not isinstance(self.log, bool):
            raise InvalidJobError("log", "is not true or false")
        _check_positive("timeout", self.timeout)
        _check_positive("resources.cpu", self.resources.cpu)
        if self.resources.memory_mb is not None:
            _check_positive("resources.memory_mb", self.resources.memory_mb)
        _check_text("name", self.name, empty=True)
        if len(self.name) > _NAME_LENGTH or not (self.name.isprintable()):
            raise InvalidJobError("name", f"is not one line of up to {_NAME_LENGTH} characters")

    def to_payload(self) -> dict[str, Any]:
        """The payload to put into a queue: plain JSON, read back by :meth:`from_payload`."""
        return {
            "v": FORMAT,
            "run": {"script": self.script},
            "env": dict(self.env),
            "secrets": list(self.secrets),
            "prepare": None
            if self.prepare is None
            else {"key": self.prepare.key, "script": self.prepare.script},
            "server": None
            if self.server is None
            else {"script": self.server.script, "request": self.server.request},
            "timeout": self.timeout,
            "resources": {"cpu": self.resources.cpu, "memory_mb": self.resources.memory_mb},
            "on_stop": self.on_stop.value,
            "name": self.name,
            "log": self.log,
        }

    @classmethod
    def from_payload(cls, payload: object) -> CommandJob:
        """Read a payload; fields that this version does not know are ignored.

        Raises :class:`UnsupportedVersionError` for another format version,
        :class:`RefusedSecretError` for a credential of the workflow run, and
        :class:`InvalidJobError` for everything else that is no command job.
        """
        fields = _mapping("payload", payload)
        version = fields.get("v")
        if type(version) is not int or version not in READABLE:
            raise UnsupportedVersionError(version, READABLE)
        run = _mapping("run", fields.get("run"))
        resources = _mapping("resources", _given(fields, "resources", {}))
        prepare, server = fields.get("prepare"), fields.get("server")
        secrets = _given(fields, "secrets", [])
        if not isinstance(secrets, list):
            raise InvalidJobError("secrets", "are not a list of names")
        try:
            on_stop = OnStop(_given(fields, "on_stop", OnStop.RELEASE.value))
        except ValueError:
            known = " or ".join(choice.value for choice in OnStop)
            raise InvalidJobError("on_stop", f"is not {known}") from None
        return cls(
            script=_text("run.script", run.get("script")),
            env=dict(_mapping("env", _given(fields, "env", {}))),
            secrets=tuple(secrets),
            prepare=None if prepare is None else _prepare(prepare),
            timeout=_given(fields, "timeout", DEFAULT_TIMEOUT),
            resources=Resources(
                cpu=_given(resources, "cpu", 1.0), memory_mb=resources.get("memory_mb")
            ),
            on_stop=on_stop,
            name=_given(fields, "name", ""),
            server=None if server is None else _server(server),
            log=_given(fields, "log", False),  # noqa: FBT003  # a default, like those above
        )


def _check_kinds(job: CommandJob) -> None:
    kinds: dict[str, tuple[type, ...]] = {
        "env": (Mapping,),
        "secrets": (tuple, list),  # a text would be taken for its letters
        "prepare": (Prepare, type(None)),
        "server": (Server, type(None)),
        "resources": (Resources,),
        "on_stop": (OnStop,),
    }
    for name, kind in kinds.items():
        if not isinstance(getattr(job, name), kind):
            raise InvalidJobError(name, f"is not a {kind[0].__name__}")


def _prepare(value: object) -> Prepare:
    fields = _mapping("prepare", value)
    return Prepare(
        key=_text("prepare.key", fields.get("key")),
        script=_text("prepare.script", fields.get("script")),
    )


def _server(value: object) -> Server:
    fields = _mapping("server", value)
    return Server(
        script=_text("server.script", fields.get("script")), request=fields.get("request")
    )


def _given(fields: Mapping[str, Any], name: str, default: Any) -> Any:  # noqa: ANN401  # JSON values
    value = fields.get(name)
    return default if value is None else value


def _mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidJobError(name, "is not a JSON object")
    return value


def _text(name: str, value: object) -> str:
    _check_text(name, value)
    return str(value)


def _check_text(name: str, value: object, *, empty: bool = False) -> None:
    if not isinstance(value, str):
        raise InvalidJobError(name, "is not a text")
    if not value and not empty:
        raise InvalidJobError(name, "is empty")
    if "\0" in value:
        raise InvalidJobError(name, "holds a NUL character")


def _check_json(name: str, value: object) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJobError(name, f"is not JSON ({error})") from None


def _check_variable(name: str, value: object) -> None:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise InvalidJobError(name, f"name a variable {value!r} that no shell can read")


def _check_positive(name: str, value: object) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:  # type: ignore[arg-type, operator]
        raise InvalidJobError(name, "is not a number above zero")
