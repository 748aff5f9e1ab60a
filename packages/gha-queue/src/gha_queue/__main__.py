"""`python -m gha_queue` is the command line `gha-queue`."""

from __future__ import annotations

from gha_queue.cli import main

if __name__ == "__main__":
    main()
