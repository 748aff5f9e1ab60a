"""`metaflow gha sandbox`: one command, with the whole path to GitHub Actions on this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from metaflow_extensions.gha.errors import GhaException
from metaflow_extensions.gha.sandbox.site import Folders, Site, open_site

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The file by which a sandbox's folder is known again, for what is in it will be overwritten.
MARK = ".gha-sandbox"

# Seconds that the command gets after a termination, before it is killed.
GRACE = 15.0


def run_in_sandbox(command: list[str], *, keep: bool, place: str | None) -> int:
    """Run `command` in a fresh sandbox, or in the one at `place`; returns its exit code, 128 + n after signal n.

    Raises
    ------
    GhaException
        what is missing on this machine, in one sentence
    """
    kept = keep or place is not None
    with (
        _folders(place, kept=kept) as folders,
        open_site(Path.cwd(), folders, keep_bucket=kept) as site,
    ):
        _say(f"S3 at {site.s3.endpoint}, GitHub played by this machine as {site.repository}.")
        if site.workflow_written:
            _say(
                "Your repository has no caller workflow yet; the copy got one, as `gha inject` writes it."
            )
        started = time.monotonic()
        code = _run(command, site.directory, site.environment)
        _report(code, time.monotonic() - started, site, folders, kept=kept)
        return code


@contextlib.contextmanager
def _folders(place: str | None, *, kept: bool) -> Iterator[Folders]:
    """The sandbox's folders; removed at the end unless they shall be kept."""
    root = Path(place).resolve() if place else Path(tempfile.mkdtemp(prefix="gha-sandbox-"))
    if root.is_dir() and any(root.iterdir()) and not (root / MARK).is_file():
        raise GhaException(
            f"{root} is not empty and no sandbox: name a new folder, or an earlier sandbox's."
        )
    root.mkdir(parents=True, exist_ok=True)
    (root / MARK).touch()
    # A folder that is kept inside a repository is no part of it.
    (root / ".gitignore").write_text("*\n", encoding="utf-8")
    try:
        yield Folders(root)
    finally:
        if not kept:
            shutil.rmtree(root, ignore_errors=True)


def _run(command: list[str], directory: Path, environment: Mapping[str, str]) -> int:
    """Run the command as the head of a session of its own; every signal is passed on to all of it.

    In a session of its own, so that whatever the command started can be found and ended with it.
    """
    try:
        process = subprocess.Popen(
            command, cwd=directory, env=dict(environment), start_new_session=True
        )
    except OSError as error:
        raise GhaException(f"{command[0]} cannot be run: {error.strerror}.") from None

    def pass_on(number: int, _frame: object) -> None:
        _signal_all(process.pid, number)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, pass_on) for number in signals}
    try:
        code = process.wait()
    finally:
        _signal_all(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        _signal_all(process.pid, signal.SIGKILL)
        process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _signal_all(group: int, number: int) -> None:
    """Signal what is left of the command; after its end the number of the group may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _report(code: int, seconds: float, site: Site, folders: Folders, *, kept: bool) -> None:
    waves = len(site.github.runs())
    _say(
        f"The command ended with exit code {code} after {seconds:.0f} s; "
        f"it started {waves} workflow run{'s' * (waves != 1)}."
    )
    if kept:
        _say(
            f"Kept in {folders.root}: logs/ (each workflow run, S3), s3/ (the bucket), repository/ (the copy)."
        )
    elif code:
        _say("Nothing was kept. With --keep the logs of the VMs stay.")


def _say(line: str) -> None:
    print(f"sandbox: {line}", file=sys.stderr, flush=True)  # noqa: T201  # what a command line tool is for
