"""A stand-in of GitHub for tests and sandboxes: the real `gh` in front, the real `act` behind."""

from gha_dispatch.testing._api.faults import Fault, FaultKind
from gha_dispatch.testing._config import StandInConfig
from gha_dispatch.testing._stand_in import GitHubStandIn

__all__ = ["Fault", "FaultKind", "GitHubStandIn", "StandInConfig"]
