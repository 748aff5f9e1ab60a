"""Parts for tests and sandboxes: a real S3 server and a proxy that breaks things on demand.

`S3Server` needs the extra `testing`.
"""

from __future__ import annotations

from gha_queue.testing._proxy import (
    Answer,
    Delay,
    DropRequest,
    DropResponse,
    FaultProxy,
    ForgetCondition,
    ProxiedRequest,
    ShiftDate,
)
from gha_queue.testing._server import S3Server

__all__ = [
    "Answer",
    "Delay",
    "DropRequest",
    "DropResponse",
    "FaultProxy",
    "ForgetCondition",
    "ProxiedRequest",
    "S3Server",
    "ShiftDate",
]
