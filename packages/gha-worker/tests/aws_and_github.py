"""What a keyless worker talks to: an endpoint of GitHub's id tokens, and AWS's STS."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

ROLE = "arn:aws:iam::123456789012:role/flows"
SUBJECT = "repo:octo/flows:ref:refs/heads/main"
ISSUER = "https://token.actions.githubusercontent.com"
AUDIENCE = "sts.amazonaws.com"
BEARER = "invented-request-token"

CREDENTIALS = """\
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAINVENTED</AccessKeyId>
<SecretAccessKey>invented</SecretAccessKey><SessionToken>invented</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/flows/x</Arn>
<AssumedRoleId>A:x</AssumedRoleId></AssumedRoleUser></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""

REFUSAL = """\
<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message>
</Error></ErrorResponse>"""


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, unverified."""
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


@dataclass(frozen=True)
class Assumed:
    """One request that the STS answered with credentials."""

    role: str
    session: str
    claims: dict[str, Any]


@dataclass
class GitHubAndSts:
    """Both as one server on this machine. Its fields are what it saw and how it answers."""

    trusted: str = SUBJECT
    lifetime: int = 300
    statuses: list[int] = field(default_factory=list)
    body: bytes | None = None
    issued: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    assumed: list[Assumed] = field(default_factory=list)

    def __enter__(self) -> Self:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(*owner.token(self.path, self.headers["Authorization"]))

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._reply(*owner.credentials(text))

            def _reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"{owner.url}/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def variables(self) -> dict[str, str]:
        """What a runner sets for a job with `id-token: write` and a role."""
        return {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": BEARER,
            "AWS_ROLE_ARN": ROLE,
            "AWS_ENDPOINT_URL_STS": self.url,
        }

    def token(self, path: str, authorization: str) -> tuple[int, bytes]:
        self.asked.append(path)
        status = self.statuses.pop(0) if self.statuses else 200
        if authorization != f"bearer {BEARER}":
            status = 401
        if status != 200:
            return status, b"{}"
        if self.body is not None:
            return 200, self.body
        (audience,) = parse_qs(urlsplit(path).query)["audience"]
        issued_at = 1_700_000_000 + len(self.issued)
        token = _jwt(
            iss=ISSUER, sub=SUBJECT, aud=audience, iat=issued_at, exp=issued_at + self.lifetime
        )
        self.issued.append(token)
        return 200, json.dumps({"count": len(token), "value": token}).encode()

    def credentials(self, text: str) -> tuple[int, bytes]:
        query = {name: values[0] for name, values in parse_qs(text).items()}
        assert query["Action"] == "AssumeRoleWithWebIdentity"
        claims = claims_of(query["WebIdentityToken"])
        if (claims["aud"], claims["sub"]) != (AUDIENCE, self.trusted):
            return 403, REFUSAL.encode()
        self.assumed.append(Assumed(query["RoleArn"], query["RoleSessionName"], claims))
        return 200, CREDENTIALS.encode()


def _jwt(**claims: str | int) -> str:
    parts = ({"alg": "RS256", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*encoded, b"c2lnbmF0dXJl"]).decode()
