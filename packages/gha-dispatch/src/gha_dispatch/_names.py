"""What GitHub takes as the name and the value of a secret or a variable.

https://docs.github.com/en/actions/reference/security/secrets
"""

from __future__ import annotations

import re

MAX_BYTES = 48 * 1024
_NAME = re.compile(r"(?!GITHUB_)[A-Z_][A-Z0-9_]*", re.IGNORECASE | re.ASCII)


def check(kind: str, name: str, value: str = "") -> None:
    """Raise ValueError unless GitHub takes this name and value. `kind` is a word for the message."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name for a {kind}. Use letters, digits and underscores; do not "
            "begin with a digit or GITHUB_."
        )
    if any(
        "\ud800" <= sign <= "\udfff" for sign in value
    ):  # no UTF-8, and str.encode would show it
        raise ValueError(f"The {kind} {name} is no valid text. Give it as UTF-8.")
    if len(value.encode()) > MAX_BYTES:
        raise ValueError(f"The {kind} {name} is larger than GitHub's {MAX_BYTES} bytes.")
