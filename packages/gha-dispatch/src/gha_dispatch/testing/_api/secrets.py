"""The API of a repository's Actions secrets: sealed boxes are opened, and GitHub's limits hold.

https://docs.github.com/en/rest/actions/secrets
"""

from __future__ import annotations

import base64
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

from gha_dispatch.testing._api.access import Need, refused
from gha_dispatch.testing._api.http import Request, Response
from gha_dispatch.testing._api.route import Paging, Route, body_of
from gha_dispatch.testing._api.timestamp import timestamp

if TYPE_CHECKING:
    from gha_dispatch.testing._hosted import Entries, Entry, Hosted

KEY_ID = "1"
MAX_SECRETS = 100
MAX_BYTES = 48 * 1024
READ = Need("secrets", role="write")
WRITE = Need("secrets", "write", "write")
_NAME = re.compile(r"[A-Z_][A-Z0-9_]*", re.IGNORECASE)


class SecretsApi:
    """Answers for the secrets of the hosted repository."""

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted
        self._key = PrivateKey.generate()

    def routes(self) -> list[Route]:
        """The addresses of this part."""
        actions = f"/repos/{re.escape(self._hosted.git.name)}/actions"
        root = f"{actions}/secrets"
        return [
            Route("GET", f"{actions}/organization-secrets", self._list_shared, READ),
            Route("GET", root, self._list, READ),
            Route("GET", f"{root}/public-key", self._public_key, READ),
            Route("GET", f"{root}/([^/]+)", self._get, READ),
            Route("PUT", f"{root}/([^/]+)", self._set, WRITE),
            Route("DELETE", f"{root}/([^/]+)", self._delete, WRITE),
        ]

    def _list(self, request: Request) -> Response:
        return _listed(request, self._hosted.secrets)

    def _list_shared(self, request: Request) -> Response:
        if not self._hosted.has_organization:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        return _listed(request, self._hosted.organization_secrets)

    def _get(self, _request: Request, name: str) -> Response:
        entry = self._hosted.secrets.get(name)
        if entry is None:
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        return Response(HTTPStatus.OK, _view(name.upper(), entry))

    def _public_key(self, _request: Request) -> Response:
        key = base64.b64encode(bytes(self._key.public_key)).decode()
        return Response(HTTPStatus.OK, {"key_id": KEY_ID, "key": key})

    def _set(self, request: Request, name: str) -> Response:
        try:
            value = self._open(name, body_of(request))
        except ValueError as error:
            return refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        is_new = self._hosted.secrets.set(name, value)
        return Response(HTTPStatus.CREATED, {}) if is_new else Response(HTTPStatus.NO_CONTENT)

    def _open(self, name: str, body: dict[str, Any]) -> bytes:
        refuse_name("Secret", name)
        secrets = self._hosted.secrets
        if secrets.get(name) is None and len(secrets.all()) >= MAX_SECRETS:
            raise ValueError(f"Secret limit of {MAX_SECRETS} per repository is reached")
        if body.get("key_id") != KEY_ID:
            raise ValueError("The public key with this key_id is not the repository's")
        try:
            sealed = base64.b64decode(body["encrypted_value"], validate=True)
            value: bytes = SealedBox(self._key).decrypt(sealed)
        except (KeyError, TypeError, ValueError, CryptoError):
            raise ValueError("Bad request - encrypted_value is no sealed box of this key") from None
        refuse_size("Secret", value)
        return value

    def _delete(self, _request: Request, name: str) -> Response:
        if not self._hosted.secrets.delete(name):
            return refused(HTTPStatus.NOT_FOUND, "Not Found")
        return Response(HTTPStatus.NO_CONTENT)


def refuse_name(kind: str, name: str) -> None:
    """Raise ValueError for a name that GitHub does not take for a secret or a variable."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{kind} names can only contain alphanumeric characters ([a-z], [A-Z], [0-9]) or "
            "underscores (_). Spaces are not allowed. Must start with a letter ([a-z], [A-Z]) or "
            "underscores (_)."
        )
    if name.upper().startswith("GITHUB_"):
        raise ValueError(f"{kind} names must not start with GITHUB_.")


def refuse_size(kind: str, value: bytes) -> None:
    """Raise ValueError for a value that GitHub does not take for a secret or a variable."""
    if len(value) > MAX_BYTES:
        raise ValueError(f"{kind} value is larger than {MAX_BYTES // 1024} KB")


def _listed(request: Request, entries: Entries[bytes]) -> Response:
    return Paging().answer(request, "secrets", entries.all(), lambda item: _view(*item))


def _view(name: str, entry: Entry[bytes]) -> dict[str, str]:
    return {
        "name": name,
        "created_at": timestamp(entry.created),
        "updated_at": timestamp(entry.updated),
    }
