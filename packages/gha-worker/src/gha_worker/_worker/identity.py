"""Who a worker is to AWS: a role, by an id token of its workflow run that is kept fresh in a file.

botocore makes credentials of such a file by itself, in the worker and in its jobs, and reads it
again for new ones: https://docs.aws.amazon.com/sdkref/latest/guide/access-assume-role-web.html
The token comes from GitHub: https://docs.github.com/en/actions/reference/security/oidc
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode

from gha_worker._errors import IdTokenError, IdTokenPermissionError, MachineError, RoleRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping
    from types import TracebackType

    from typing_extensions import Self

TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"  # noqa: S105  # the name of a variable
ROLE = "AWS_ROLE_ARN"
SESSION = "AWS_ROLE_SESSION_NAME"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

_TIME_LIMIT = 10.0
_FIRST_PAUSES = (1.0, 2.0, 4.0)
_AGAIN = 15.0
_LOOK = 1.0
_PARTING = 1.0
_LONGEST_ANSWER = 65536
_LONGEST_SESSION = 64
_NOT_IN_SESSION = re.compile(r"[^A-Za-z0-9_+=,.@-]+")


@dataclass(frozen=True)
class Role:
    """A role to assume, and where and as what GitHub is asked for the id token that it takes."""

    arn: str
    audience: str
    url: str
    bearer: str = field(repr=False)

    @classmethod
    def wanted(cls, environment: Mapping[str, str]) -> Role | None:
        """The role that `environment` asks this worker to keep a token for.

        None without a role, with a token file that somebody else keeps, and outside GitHub
        Actions. Raises :class:`IdTokenPermissionError` for a run that may not ask for a token.
        """
        arn = environment.get(ROLE)
        if not arn or environment.get(TOKEN_FILE):
            return None
        url = environment.get("ACTIONS_ID_TOKEN_REQUEST_URL")
        bearer = environment.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
        if url and bearer:
            return cls(arn, environment.get("AWS_ROLE_AUDIENCE") or _audience(arn), url, bearer)
        if environment.get("GITHUB_ACTIONS") == "true":
            raise IdTokenPermissionError(arn)
        return None


def _audience(arn: str) -> str:
    """The audience that AWS's own documentation has people configure, by partition."""
    return "sts.amazonaws.com.cn" if arn.startswith("arn:aws-cn:") else "sts.amazonaws.com"


@dataclass(frozen=True)
class IdToken:
    """A JWT with the claims that matter here; `lifetime` is in seconds from its issue."""

    value: str = field(repr=False)
    subject: str
    issuer: str
    lifetime: float

    @classmethod
    def parse(cls, value: str) -> IdToken:
        """Read the claims. The signature is for AWS to check.

        Raises ValueError, KeyError or TypeError for what is no such token.
        """
        _, claims, _ = value.split(".")
        fields = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        lifetime = float(fields["exp"] - fields["iat"])
        if lifetime <= 0:
            raise ValueError("the token ends before it begins")
        return cls(value, str(fields["sub"]), str(fields["iss"]), lifetime)


def request_token(role: Role) -> IdToken:
    """Ask GitHub for an id token, once: one GET with a time limit.

    Raises :class:`IdTokenError`, which holds neither the URL nor a token.
    """
    query = urlencode({"audience": role.audience})
    url = f"{role.url}{'&' if '?' in role.url else '?'}{query}"
    try:
        request = urllib.request.Request(  # noqa: S310  # GitHub chose the address
            url, headers={"Authorization": f"bearer {role.bearer}", "Accept": "application/json"}
        )
        with _OPENER.open(request, timeout=_TIME_LIMIT) as answer:
            return IdToken.parse(json.loads(answer.read(_LONGEST_ANSWER))["value"])
    except HTTPError as refusal:
        with refusal:
            raise IdTokenError(f"HTTP {refusal.code}", status=refusal.code) from None
    except URLError as error:
        raise IdTokenError(_reason(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise IdTokenError(_reason(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IdTokenError("an answer that holds no id token") from None


def _reason(error: str | BaseException) -> str:
    """What went wrong on the way. An exception's own text may quote a header."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the request's own token to wherever it leads."""

    def redirect_request(self, *_: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


class Identity:
    """An id token of `role` in a private file, which exists while the context lasts.

    Entering asks GitHub, up to four times. Raises :class:`IdTokenError`, and
    :class:`MachineError` where no file can be made. The token is renewed by :meth:`tend` alone.
    """

    def __init__(
        self,
        role: Role,
        say: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._role = role
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._faulty = False
        self._due = self._ends = 0.0

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            try:
                # A thread that still writes as the worker ends is no reason for a traceback.
                self._directory = tempfile.TemporaryDirectory(
                    prefix="gha-worker-identity-", ignore_cleanup_errors=True
                )
                undo.callback(self._directory.cleanup)
                self._begin()
            except OSError as error:
                raise MachineError(tempfile.gettempdir(), error) from error
            undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._directory.cleanup()

    @property
    def file(self) -> Path:
        return Path(self._directory.name) / "token"

    @property
    def expired(self) -> bool:
        """Whether AWS gives new credentials no more, to this worker or to a job that starts."""
        return self._clock() >= self._ends

    def tend(self) -> None:
        """Renew the token if half of its life is over: every 150 s as GitHub makes them today.

        Costs one request then and nothing before. A token that cannot be renewed stays until a
        later try succeeds, and `say` is told once.
        """
        now = self._clock()
        if now < self._due:
            return
        try:
            self._keep(now)
        except (IdTokenError, OSError) as error:
            self._due = now + _AGAIN
            if not self._faulty:
                self._say(self._warning(error, now))
            self._faulty = True
        else:
            if self._faulty:
                self._say("has a new id token again")
            self._faulty = False

    def refused(self, error: BaseException) -> RoleRefusedError | None:
        """The sentence for an `error` that comes from AWS refusing the role, None for others."""
        from botocore.exceptions import ClientError

        cause: BaseException | None = error
        while cause is not None:
            if (
                isinstance(cause, ClientError)
                and cause.operation_name == "AssumeRoleWithWebIdentity"
            ):
                answer = cause.response.get("Error", {})
                said = f"{answer.get('Code')}: {answer.get('Message')}".rstrip(".")
                token, audience = self._token, self._role.audience
                return RoleRefusedError(self._role.arn, token.subject, token.issuer, audience, said)
            cause = cause.__cause__
        return None

    def _begin(self) -> None:
        pauses = iter(_FIRST_PAUSES)
        while True:
            try:
                self._keep(self._clock())
                return
            except IdTokenError as error:  # noqa: PERF203  # trying again is what the loop is for
                pause = next(pauses, None)
                if error.refused or pause is None:
                    raise
                self._sleep(pause)

    def _keep(self, now: float) -> None:
        token = request_token(self._role)
        new = self.file.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(token.value)
        new.replace(self.file)
        self._token = token
        self._due, self._ends = now + token.lifetime / 2, now + token.lifetime

    def _warning(self, error: IdTokenError | OSError, now: float) -> str:
        reason = error.reason if isinstance(error, IdTokenError) else _reason(error)
        left = max(0.0, self._ends - now)
        return (
            f"no new id token ({reason}): the last one is kept and good for {left:.0f} s more;"
            " without another by then this worker starts no more jobs, and a running one has its AWS"
            " credentials until their own end"
        )


@contextmanager
def tended(identity: Identity) -> Iterator[None]:
    """Keep the token fresh, in a thread, as long as the context lasts."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK):
            identity.tend()

    thread = threading.Thread(target=watch, name="identity", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_PARTING)


@contextmanager
def assumed_role(
    environment: MutableMapping[str, str], worker: str, say: Callable[[str], None]
) -> Iterator[Identity | None]:
    """Let botocore act as the role that `environment` names, as long as the context lasts.

    Yields None, and changes nothing, where :meth:`Role.wanted` finds none. Otherwise sets the
    three variables that botocore reads, and removes access keys, which it would prefer to them.
    A queue's error that is a refusal of the role leaves as :class:`RoleRefusedError`.
    """
    from gha_queue import QueueError

    role = Role.wanted(environment)
    if role is None:
        yield None
        return
    with Identity(role, say) as identity, tended(identity):
        keys = [name for name in KEYS if environment.pop(name, None)]
        if keys:
            say(f"acts as {role.arn} and does not use {' and '.join(keys)}")
        environment[TOKEN_FILE] = str(identity.file)
        session = _NOT_IN_SESSION.sub("-", f"gha-worker-{worker}")[:_LONGEST_SESSION]
        environment.setdefault(SESSION, session)
        try:
            yield identity
        except QueueError as error:
            refused = identity.refused(error)
            if refused is None:
                raise
            raise refused from error
