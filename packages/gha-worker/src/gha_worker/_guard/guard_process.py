"""The script of a guard: ``python -I -S guard_process.py``.

It stands for the package `gha_worker` without running it: a guard needs a few of its modules, not
the queue and all that comes with it. As modules they are compiled once, which a script is not.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

if __name__ == "__main__":
    package = ModuleType("gha_worker")
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  # pathlib starts slowly
    package.__path__ = [os.path.dirname(here)]  # noqa: PTH120  # likewise
    sys.modules["gha_worker"] = package

    from gha_worker._guard.guard import main

    main()
