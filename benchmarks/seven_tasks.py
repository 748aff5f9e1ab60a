"""Seven tasks (start, a foreach of four, join, end) on warm VMs against plain Metaflow, on one S3 datastore.

    uv run python benchmarks/seven_tasks.py [--rounds 3] [--vms 2]

The flow runs the seven tasks twice and the second half is timed, so that neither the boot of the VMs nor the
installation of their environment counts. Both ways run on this machine in turn, because its speed drifts: quote the
ratio. A VM is a process beside the launcher here, so that all share the same cores, and S3 is a server on this machine.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from metaflow_extensions.gha.sandbox.site import Folders, Site, open_site

if TYPE_CHECKING:
    from collections.abc import Sequence

FLOW = """
from metaflow import FlowSpec, step

class SevenFlow(FlowSpec):
    @step
    def start(self):
        self.numbers = list(range(4))
        self.next(self.warm, foreach="numbers")

    @step
    def warm(self):
        self.next(self.warmed)

    @step
    def warmed(self, inputs):
        self.next(self.begin)

    @step
    def begin(self):
        self.numbers = list(range(4))
        self.next(self.work, foreach="numbers")

    @step
    def work(self):
        self.result = self.input ** 2
        self.next(self.join)

    @step
    def join(self, inputs):
        self.total = sum(task.result for task in inputs)
        self.next(self.finish)

    @step
    def finish(self):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    SevenFlow()
"""

LINE = re.compile(r"^(\S+ \S+) \[\d+/(\w+)/\d+ .*Task (is starting|finished)", re.MULTILINE)


def seconds(site: Site, options: Sequence[str]) -> float:
    """From the start of `begin` to the end of `finish`, by the times that Metaflow prints."""
    ended = subprocess.run(
        [sys.executable, "seven.py", "run", *options],
        cwd=site.directory,
        env=dict(site.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise SystemExit(ended.stdout)
    times = {
        (found.group(2), found.group(3)): datetime.fromisoformat(found.group(1))
        for found in LINE.finditer(ended.stdout)
    }
    return (times["finish", "finished"] - times["begin", "is starting"]).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way")
    parser.add_argument("--vms", type=int, default=2, help="VMs of a run on GitHub Actions")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        project = Path(root, "project")
        project.mkdir()
        (project / "seven.py").write_text(FLOW)
        with open_site(project, Folders(Path(root, "sandbox")), keep_bucket=False) as site:
            print(f"{'round':>5} {'plain, s':>9} {'on VMs, s':>10} {'ratio':>6}")
            ratios = []
            for number in range(1, chosen.rounds + 1):
                plain = seconds(site, [])
                remote = seconds(site, [f"--with=gha:workers={chosen.vms}"])
                ratios.append(remote / plain)
                print(f"{number:>5} {plain:>9.1f} {remote:>10.1f} {ratios[-1]:>6.2f}", flush=True)
            print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
