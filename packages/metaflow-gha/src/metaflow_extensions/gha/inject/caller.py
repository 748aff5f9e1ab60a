"""The caller workflow, the file in the user's repository that starts VMs, as plain text. No I/O.

The text carries a stamp: one line that says by which version and with which options it was made, and a checksum by
which a changed file is told from an old one.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from metaflow_extensions.gha.errors import GhaException, UnmetError
from metaflow_extensions.gha.settings import SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from metaflow_extensions.gha.settings import Settings

# What a launcher and its workflow expect of each other; raised when the inputs of a dispatch change.
FORMAT = 1

WORKFLOWS = ".github/workflows"

# Where the worker's sources lie in its own repository, and in a repository that stands alone.
WORKER_DIRECTORY = "packages"
STANDALONE_DIRECTORY = ".github/metaflow-gha"
STANDALONE_WORKER = f"{WORKFLOWS}/metaflow-gha-worker.yml"

CALLER = """\
# Starts the VMs of Metaflow runs: one dispatch is one wave of VMs. Written by `python flow.py gha
# inject`, which writes it anew after an upgrade. The worker stands here as a literal, so that no
# input of a dispatch can choose code.
name: metaflow-gha
run-name: ${{{{ inputs.title }}}} (${{{{ inputs.wave }}}})

on:
  workflow_dispatch:
    inputs:
      title:
        description: The run, as people know it.
        type: string
        required: true
      queue:
        description: The run's queue, a path below METAFLOW_DATASTORE_SYSROOT_S3.
        type: string
        required: true
      wave:
        description: The id of this dispatch.
        type: string
        required: true
      vms:
        description: The numbers of the VMs to start, a JSON list of strings.
        type: string
        required: true
      python:
        description: The minor version of Python that the run was launched with.
        type: string
        required: true

permissions: {{}}

jobs:
  worker:
    name: ${{{{ inputs.wave }}}}
    permissions:
{permissions}
    strategy:
      fail-fast: false
      max-parallel: 256
      matrix:
        vm: ${{{{ fromJSON(inputs.vms) }}}}
    uses: {uses}
    with:
{literals}
      queue: ${{{{ inputs.queue }}}}
      wave: ${{{{ inputs.wave }}}}
      vm: ${{{{ matrix.vm }}}}
      python: ${{{{ inputs.python }}}}
    secrets:
{secrets}
"""

STAMP = "# gha-inject: "

FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\.ya?ml")
NAME = re.compile(r"[A-Za-z0-9_./-]+")
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:=/+-]*")
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
ROLE = re.compile(r"arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,576}")
USES = re.compile(r"^\s+uses:\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class CallerOptions:
    """What the user may choose about the workflow. Raises GhaException for what GitHub or AWS would not take.

    `standalone`: the worker's sources lie in the user's own repository. `oidc_role`: the ARN of the AWS role that the
    VMs take on, empty with stored keys. `runs_on`: the labels of the runner, all of which it must have. `pin`: the
    worker's ref is written down as the commit that it names today.
    """

    standalone: bool = False
    oidc_role: str = ""
    runs_on: tuple[str, ...] = ("ubuntu-latest",)
    pin: bool = False

    def __post_init__(self) -> None:
        if self.oidc_role and not ROLE.fullmatch(self.oidc_role):
            raise GhaException(
                f"{self.oidc_role!r} is no ARN of an IAM role: write it as arn:aws:iam::123456789012:role/NAME."
            )
        for label in self.runs_on or ("",):
            if not LABEL.fullmatch(label):
                raise GhaException(
                    f"{label!r} is no label of a runner: name one as in --runs-on ubuntu-24.04-arm, several with "
                    "commas between them."
                )
        if self.standalone and self.pin:
            raise GhaException(
                "A standalone workflow runs the worker of its own repository, so there is nothing to pin: "
                "leave --pin away, or add --reusable."
            )


@dataclass(frozen=True)
class Stamp:
    """How a workflow was made.

    `ref` is the worker's ref as the user named it and `commit` what it was pinned to, or empty. `checksum` is that of
    all files that were written together.
    """

    version: str
    options: CallerOptions
    ref: str
    commit: str = ""
    checksum: str = ""
    format: int = FORMAT

    def line(self) -> str:
        """The stamp as the comment that stands in the workflow."""
        return f"{STAMP}{json.dumps(asdict(self), sort_keys=True)}\n"


def caller_path(settings: Settings) -> str:
    """Where the caller workflow lies in a repository; raises UnmetError for a name that would lie elsewhere."""
    if not FILE.fullmatch(settings.caller_workflow):
        raise UnmetError(
            f"METAFLOW_GHA_CALLER_WORKFLOW={settings.caller_workflow} is no name of a file in {WORKFLOWS}: "
            "name one as in metaflow-gha.yml.",
            "unset METAFLOW_GHA_CALLER_WORKFLOW",
        )
    return f"{WORKFLOWS}/{settings.caller_workflow}"


def read_stamp(text: str) -> Stamp | None:
    """The stamp of a workflow; None where there is none that can be read."""
    found = re.search(rf"^{STAMP}(.*)$", text, re.MULTILINE)
    if found is None:
        return None
    try:
        written = json.loads(found.group(1))
        # A newer version may have written more than is known here.
        options = {field.name: written["options"][field.name] for field in fields(CallerOptions)}
        known = {field.name: written[field.name] for field in fields(Stamp)}
        options["runs_on"] = tuple(options["runs_on"])
        return Stamp(**{**known, "options": CallerOptions(**options)})
    except (ValueError, KeyError, TypeError, GhaException):
        return None


def read_options(text: str) -> CallerOptions:
    """How a workflow was made; without a stamp, how `gha inject` makes one that nobody has asked more of."""
    stamp = read_stamp(text)
    return stamp.options if stamp else CallerOptions()


def without_stamp(text: str) -> str:
    """The workflow as `render` made it, or as somebody changed it since."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(STAMP))


def render(stamp: Stamp, settings: Settings) -> str:
    """The text of the workflow, the stamp at its end; a pure function of both.

    Raises
    ------
    GhaException
        a setting that is no name of a repository, a workflow or a ref
    """
    for value in (settings.worker_repo, settings.worker_workflow, settings.worker_ref):
        if not NAME.fullmatch(value):
            raise GhaException(
                f"{value!r} is no name of a repository, workflow or ref: correct METAFLOW_GHA_WORKER_REPO, "
                "_WORKER_WORKFLOW or _WORKER_REF."
            )
    options = stamp.options
    permissions = ["contents: read # the sources of the worker"]
    secrets = SECRETS
    if options.standalone:
        literals = {
            "worker-repository": "${{ github.repository }}",
            "worker-ref": "${{ github.sha }}",
            "worker-directory": STANDALONE_DIRECTORY,
        }
    else:
        literals = {
            "worker-repository": settings.worker_repo,
            "worker-ref": stamp.commit or stamp.ref,
        }
    if options.oidc_role:
        permissions.append("id-token: write # tells AWS which repository this is")
        literals["role"] = options.oidc_role
        secrets = tuple(name for name in SECRETS if not name.startswith("AWS_"))
    if options.runs_on != CallerOptions.runs_on:
        literals["runs-on"] = json.dumps(options.runs_on)
    text = CALLER.format(
        permissions=_block(permissions),
        uses=_uses(stamp, settings) + _remark(stamp),
        literals=_block(f"{name}: {_quoted(value)}" for name, value in literals.items()),
        secrets=_block(f"{name}: ${{{{ secrets.{name} }}}}" for name in secrets),
    )
    return text + stamp.line()


def check(text: str, settings: Settings) -> None:
    """The workflow `text` must understand this launcher and start the worker that it is configured for.

    A file that was changed by hand passes as long as both hold.

    Raises
    ------
    GhaException
        it does not; the message says to run `gha inject` again
    """
    name, again = settings.caller_workflow, "run `python flow.py gha inject` again, commit and push"
    stamp = read_stamp(text)
    if stamp is None or stamp.format < FORMAT:
        made = f"was written by metaflow-gha {stamp.version}" if stamp else "has no stamp of one"
        raise GhaException(f"{name} is older than this metaflow-gha needs, it {made}: {again}.")
    if stamp.format > FORMAT:
        raise GhaException(
            f"{name} was written by metaflow-gha {stamp.version}, which is newer than this one: "
            f"pip install --upgrade metaflow-gha, or {again}."
        )
    if stamp.options.standalone:
        return
    configured = _uses(Stamp(stamp.version, CallerOptions(), settings.worker_ref), settings)
    if stamp.ref != settings.worker_ref or uses(text) != _uses(stamp, settings):
        raise GhaException(
            f"{name} starts {uses(text)}, but METAFLOW_GHA_WORKER_REPO, _WORKFLOW and _REF name {configured}: {again}."
        )


def uses(text: str) -> str:
    """The worker that a workflow starts."""
    found = USES.search(text)
    return found.group(1) if found else "no worker"


def checksum(files: Mapping[str, str]) -> str:
    """Of the paths and texts of files, stamps aside: what `gha inject` has written is known again by it."""
    plain = sorted((path, without_stamp(text)) for path, text in files.items())
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]


def _uses(stamp: Stamp, settings: Settings) -> str:
    if stamp.options.standalone:
        return f"./{STANDALONE_WORKER}"
    workflow = f"{settings.worker_repo}/{WORKFLOWS}/{settings.worker_workflow}"
    return f"{workflow}@{stamp.commit or stamp.ref}"


def _remark(stamp: Stamp) -> str:
    """What stands behind the worker: which ref a commit was, or why it is none."""
    if stamp.options.standalone:
        return " # zizmor: ignore[self-repository] -- this form is known to every GitHub server"
    if stamp.commit:
        return f" # {stamp.ref}"
    return " # zizmor: ignore[unpinned-uses] -- follows its ref; `gha inject --pin` writes a commit"


def _block(lines: Iterable[str]) -> str:
    return "\n".join(f"      {line}" for line in lines)


def _quoted(value: str) -> str:
    """As YAML; no value here holds a quote."""
    return value if value.startswith("${{") else f"'{value}'"
