"""Whether the VMs of GitHub can reach an address that works here."""

from __future__ import annotations

import enum
import ipaddress
import re
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

from metaflow_extensions.gha.errors import UnmetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Seconds for a name to be resolved.
RESOLVE = 5.0

# What an address is made of; a shell takes it as it stands.
ADDRESS = re.compile(r"[A-Za-z0-9:/._~%,+=\[\]-]+")

STAND_IN = "github.localhost"

# https://docs.github.com/en/actions/reference/runners/github-hosted-runners
HOSTED_LABEL = re.compile(r"(ubuntu|windows|macos)-")

# Names that mean something on one machine or in one network only: RFC 6761, 6762, 8375 and the
# name that ICANN keeps free for private use.
PRIVATE_SUFFIXES = ("localhost", "local", "internal", "home.arpa", "lan")


def host_of(url: str, variable: str) -> str:
    """The host of an http or https address; `variable` is where the user wrote it.

    Raises
    ------
    UnmetError
        it is no such address
    """
    if "@" in url:
        raise UnmetError(
            f"{variable} holds a user or a password, which all logs would show and no server here asks for.",
            f"export {variable}=https://HOST",
        )
    host = _host(url)
    if host is None:
        meant = "https://" + (url.partition("://")[2] or url).strip("/")
        raise UnmetError(
            f"{variable}={url} is no address of a server: it needs a scheme and a host.",
            f"export {variable}={meant if _host(meant) else 'https://HOST'}",
        )
    return host


def _host(url: str) -> str | None:
    """The host of what is an address; None for anything else."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    is_address = parts.scheme in {"http", "https"} and ADDRESS.fullmatch(url)
    return parts.hostname if is_address else None


class Runners(enum.Enum):
    """Where the VMs stand."""

    HOSTED = "hosted"  # GitHub's own, on the internet
    OWN = "own"  # the user's: in a network that we do not know
    HERE = "here"  # a stand-in's: on this machine

    @classmethod
    def of(cls, host: str, labels: Iterable[str]) -> Runners:
        """Read off the GitHub host and the labels that the jobs ask for."""
        if host == STAND_IN:
            return cls.HERE
        is_hosted = host == "github.com" or host.endswith(".ghe.com")
        is_standard = all(HOSTED_LABEL.match(label) for label in labels)
        return cls.HOSTED if is_hosted and is_standard else cls.OWN


def obstacle(
    host: str, runners: Runners, resolve: Callable[[str], list[str]] | None = None
) -> str | None:
    """Why no VM can reach this host, as half a sentence; None when nothing is known to be in the way.

    That a public address answers from everywhere is not promised: a firewall may stand before it. Of the user's own
    runners nothing is known.
    """
    if runners is not Runners.HOSTED:
        return None
    name = host.rstrip(".").lower()
    try:
        addresses = [str(ipaddress.ip_address(name))]
    except ValueError:
        if "." not in name or any(name.endswith(f".{suffix}") for suffix in PRIVATE_SUFFIXES):
            return f"{host} is a name of this machine or of your own network"
        try:
            addresses = (resolve or _resolve)(name)
        except OSError:
            # Behind a proxy it is the proxy that resolves the names of the world.
            return None if getproxies() else f"the name {host} cannot be resolved"
    if addresses and not any(ipaddress.ip_address(address).is_global for address in addresses):
        shown = host if host in addresses else f"{host} ({addresses[0]})"
        return f"{shown} is an address of this machine or of a private network"
    return None


def _resolve(name: str) -> list[str]:
    """The addresses of a name, in bounded time: a resolver without a network may take a minute.

    Raises
    ------
    OSError
        the name has none, or nothing answered
    """
    found: list[str] = []
    failed: list[OSError] = []

    def ask() -> None:
        try:
            # A scope, as in fe80::1%eth0, is no part of the address.
            found.extend(
                str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(name, None)
            )
        except OSError as error:
            failed.append(error)
        except UnicodeError as error:
            failed.append(OSError(str(error)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(RESOLVE)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError(f"no answer within {RESOLVE:g} s")
    return found
