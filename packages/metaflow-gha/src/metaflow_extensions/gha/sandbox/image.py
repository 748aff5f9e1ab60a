"""The runner image of the sandbox: what a VM finds on its PATH and in its environment before a job begins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from metaflow_extensions.gha.errors import GhaException
from metaflow_extensions.gha.settings import PYTHON

# How this machine reaches its package indexes and whom it trusts: without these nothing can be
# installed.
PASSED_ON = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
)
PASSED_ON_PREFIXES = ("UV_", "PIP_")

# The user's own choices for one project, which a fresh VM would not have.
NOT_PASSED_ON = frozenset({"UV_PROJECT", "UV_PROJECT_ENVIRONMENT", "UV_RUN_RECURSION_DEPTH", "UV"})


def runner_image(directory: Path) -> dict[str, str]:
    """The environment of the sandbox's VMs; `directory` holds their links to uv and Python while it lasts."""
    bin_directory = directory / "bin"
    bin_directory.mkdir()
    uv = _uv()
    # The bare interpreter, not the environment that this command runs in: a VM has none of its
    # packages.
    python = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    for name, target in {"uv": uv, "python3": python, f"python{PYTHON}": python}.items():
        (bin_directory / name).symlink_to(target)
    cache = subprocess.run(
        [uv, "cache", "dir"], capture_output=True, text=True, check=True
    ).stdout.strip()
    passed_on = {
        name: value
        for name, value in os.environ.items()
        if (name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)) and name not in NOT_PASSED_ON
    }
    return {
        "LANG": "C.UTF-8",
        # What was once fetched on this machine is not fetched again.
        "UV_CACHE_DIR": cache,
        # The interpreters are those above; a download would be a surprise on somebody's own
        # machine.
        "UV_PYTHON_DOWNLOADS": "never",
        **passed_on,
        "PATH": os.pathsep.join([str(bin_directory), "/usr/local/bin", "/usr/bin", "/bin"]),
    }


def _uv() -> str:
    beside = shutil.which("uv", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("uv")
    if found is None:
        raise GhaException("The sandbox needs uv: pip install 'metaflow-gha[sandbox]'.")
    return found
