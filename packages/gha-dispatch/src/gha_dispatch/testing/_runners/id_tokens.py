"""OpenID Connect tokens for jobs, as GitHub gives them to jobs with `id-token: write`.

https://docs.github.com/en/actions/reference/security/oidc
The claims are GitHub's. The signature is not: HMAC with a key of the stand-in's, so that whoever is
to trust a token asks the stand-in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets as random
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gha_dispatch.testing._api.access import refused
from gha_dispatch.testing._api.http import LocalHttpServer, Request, Response

if TYPE_CHECKING:
    from collections.abc import Mapping

ISSUER = "https://token.actions.githubusercontent.com"
LIFE = 300  # seconds
PATH = "/id-token"
REQUEST_URL, REQUEST_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"


class IdTokens:
    """Serves tokens on this machine to the jobs that hold a request token. Thread-safe."""

    def __init__(self) -> None:
        self._key = random.token_bytes(32)
        self._lock = threading.Lock()
        self._claims: dict[str, Mapping[str, str]] = {}
        self._server = LocalHttpServer(self._answer)

    def stop(self) -> None:
        """Answer no more."""
        self._server.stop()

    def open(self, claims: Mapping[str, str]) -> dict[str, str]:
        """Let one more job ask for tokens with these claims; give its two variables."""
        token = random.token_urlsafe(32)
        with self._lock:
            self._claims[token] = claims
        return {REQUEST_URL: f"{self._server.url}{PATH}?api-version=2.0", REQUEST_TOKEN: token}

    def close(self, variables: Mapping[str, str]) -> None:
        """Let a job ask no more."""
        with self._lock:
            self._claims.pop(variables.get(REQUEST_TOKEN, ""), None)

    def verify(self, token: str, audience: str | None = None) -> dict[str, Any]:
        """The claims of a token. Raises ValueError for one that is forged, late or for others."""
        try:
            signed, _, signature = token.rpartition(".")
            if not hmac.compare_digest(_encode(self._sign(signed)), signature):
                raise ValueError("The token was not signed by this stand-in.")
            claims: dict[str, Any] = json.loads(_decode(signed.partition(".")[2]))
        except (TypeError, UnicodeError) as error:
            raise ValueError("This is no token.") from error
        if claims["exp"] <= time.time():
            raise ValueError(f"The token expired {time.time() - claims['exp']:.0f} s ago.")
        if audience is not None and claims["aud"] != audience:
            raise ValueError(f"The token is for {claims['aud']}, not for {audience}.")
        return claims

    def _answer(self, request: Request) -> Response:
        with self._lock:
            claims = self._claims.get(request.token or "")
        if claims is None:
            return refused(
                HTTPStatus.UNAUTHORIZED, "The request token is unknown or its job is over."
            )
        if (request.method, request.path) != ("GET", PATH):
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        value = self._issue({**claims, "aud": request.query.get("audience", claims["aud"])})
        return Response(HTTPStatus.OK, {"count": len(value), "value": value})

    def _issue(self, claims: Mapping[str, str]) -> str:
        now = int(time.time())
        times = {"iat": now, "nbf": now - LIFE, "exp": now + LIFE}
        body = {"jti": random.token_hex(16), "iss": ISSUER, **claims, **times}
        parts = ({"typ": "JWT", "alg": "HS256"}, body)
        signed = ".".join(_encode(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_encode(self._sign(signed))}"

    def _sign(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode(), hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
