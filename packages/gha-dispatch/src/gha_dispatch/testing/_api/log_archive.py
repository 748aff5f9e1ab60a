"""The logs of a run as the API gives them out: an archive with a file for each job and step."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

from gha_dispatch.testing._api.timestamp import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gha_dispatch.testing._runners.runs import JobRecord
    from gha_dispatch.testing._runners.steps import Line


def archive(jobs: Iterable[JobRecord]) -> bytes:
    """A ZIP file: `<n>_<job>.txt`, and `<job>/<n>_<step>.txt` below a folder for each job.

    Newer versions of `gh` look for a job's name without the characters that no file name has,
    older ones for the name as it is.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for number, job in enumerate(jobs):
            lines = job.log.lines()
            name = _file_name(job.plan.name)
            file.writestr(f"{number}_{name}.txt", text_of(lines))
            for step in job.log.steps():
                text = text_of(line for line in lines if line.step == step.number)
                for folder in {name, job.plan.name}:
                    file.writestr(f"{folder}/{step.number}_{_file_name(step.name)}.txt", text)
    return buffer.getvalue()


def text_of(lines: Iterable[Line]) -> str:
    """Lines with their times, as the runner writes them."""
    return "".join(f"{timestamp(line.moment)[:-1]}.0000000Z {line.text}\n" for line in lines)


def _file_name(name: str) -> str:
    return name.replace("/", "").replace(":", "").replace("\n", " ")
