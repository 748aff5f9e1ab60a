"""The script of a guard: ``python -I -S _guard_process.py``.

It stands for the package `gha_worker` without running it: a guard needs two of its modules, not
the queue and all that comes with it. Imported so, they come as compiled files, which a script does
not.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

package = ModuleType("gha_worker")
package.__path__ = [os.path.dirname(os.path.abspath(__file__))]  # noqa: PTH100, PTH120  # pathlib starts slowly
sys.modules["gha_worker"] = package

from gha_worker._guard import main  # noqa: E402  # it is found from here on

main()
