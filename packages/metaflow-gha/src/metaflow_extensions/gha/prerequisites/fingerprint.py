"""What this machine remembers of a repository that had all that its VMs need: a salted fingerprint, no value."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

# A key of the metadata service may be short: trying all of them shall take long.
ROUNDS = 200_000


@dataclass(frozen=True)
class Fingerprint:
    """The fingerprint of one repository's values, in a file that only the user can read."""

    path: Path

    @classmethod
    def of(cls, repository: str) -> Fingerprint:
        """The one for this repository, in Metaflow's own folder."""
        home = Path(os.environ.get("METAFLOW_HOME", "~/.metaflowconfig")).expanduser()
        name = re.sub(r"[^A-Za-z0-9._-]", "_", repository)
        return cls(home / "gha" / f"{name}.json")

    def matches(self, values: str) -> bool:
        """Whether these are the values that were remembered."""
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            salt, expected = bytes.fromhex(record["salt"]), str(record["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return hmac.compare_digest(_digest(salt, values), expected)

    def remember(self, values: str) -> None:
        """Write the fingerprint of these values; a folder that cannot be written costs four requests a run."""
        salt = secrets.token_bytes(16)
        record = json.dumps({"salt": salt.hex(), "fingerprint": _digest(salt, values)})
        fresh = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(record)
            fresh.replace(self.path)

    def forget(self) -> None:
        """Let the next run look again."""
        with contextlib.suppress(OSError):
            self.path.unlink()


def _digest(salt: bytes, values: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", values.encode(), salt, ROUNDS).hex()
