"""`python -m gha_dispatch` is the command line `gha-dispatch`."""

from __future__ import annotations

from gha_dispatch.cli import main

if __name__ == "__main__":
    main()
