"""What every small server of this project stands on: reading room, explorer page.

    tokens = Tokens.of({"reader-1": new_token()})
    app = secured([Route("/r/{token}", page)])      # `page` asks tokens.owner(token), 404 if None
    serve(app, "127.0.0.1", 8800, ready=print)

`secured` puts routes behind one shield: security headers on every answer, a limit on the size of
what is sent here and on how often, no file that is not named by a route, errors as one line of
JSON that tells nothing of the machine. `serve` listens on this machine alone unless told otherwise
and writes no access log, since a reader's link is a secret.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from echocascade.studies.shield import Limits, Shield, error_response

LOOPBACK = "127.0.0.1"
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


class ServerError(ValueError):
    """A server that cannot be started as asked."""


@dataclass(frozen=True)
class Tokens:
    """Who may come in: names by the SHA-256 of their token; the tokens themselves are not kept."""

    names: Mapping[str, str]

    @staticmethod
    def of(tokens: Mapping[str, str]) -> "Tokens":
        """From name -> token."""
        return Tokens({token_hash(token): name for name, token in tokens.items()})

    def owner(self, token: str) -> str | None:
        """The name that a token belongs to, or None; every known hash is compared, in full."""
        given, found = token_hash(token), None
        for known, name in self.names.items():
            if hmac.compare_digest(known, given):
                found = name
        return found


def new_token() -> str:
    """An unguessable part of a link: 256 random bits, URL-safe."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """What is kept of a token: SHA-256 in hex. Nothing leads back from it to 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def secured(
    routes: Sequence[BaseRoute],
    *,
    hosts: Sequence[str] = LOOPBACK_NAMES,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> ASGIApp:
    """A Starlette app of `routes` behind the shield.

    Args:
        routes: what is served; anything else is 404. Check the token inside, see `Tokens`.
        hosts: names that a request's Host header may carry ("*": any). The default refuses pages
            of other sites that were made to point here (DNS rebinding).
        limits: see `Limits`.
    """
    app = Starlette(
        routes=list(routes), exception_handlers={HTTPException: _said, Exception: _failed}
    )
    app.router.redirect_slashes = False  # a redirect would repeat what the client sent
    return Shield(app, tuple(hosts), limits)


def serve(
    app: ASGIApp,
    host: str = LOOPBACK,
    port: int = 8800,
    *,
    certificate: Path | None = None,
    private_key: Path | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve `app` until SIGINT or SIGTERM; port 0 takes a free one.

    `ready` is called with the address ("http://127.0.0.1:8800") once connections are accepted.
    Outside this machine give `certificate` and `private_key` (PEM), or put a proxy that speaks
    TLS in front: over plain HTTP anyone on the way reads the links. ServerError: the port is taken
    or the address is not this machine's.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ServerError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False,
        ws="none", lifespan="off", limit_concurrency=128, h11_max_incomplete_event_size=16 * 1024,
        timeout_keep_alive=10, timeout_graceful_shutdown=5, backlog=128,
        ssl_certfile=certificate, ssl_keyfile=private_key,
    )  # fmt: skip
    if ready is not None:
        name = f"[{host}]" if ":" in host else host
        ready(f"http{'s' if certificate else ''}://{name}:{listening.getsockname()[1]}")
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def hosts_for(host: str) -> tuple[str, ...]:
    """The names that an app bound to `host` answers to: this machine's, or any on a network."""
    return LOOPBACK_NAMES if host in LOOPBACK_NAMES else ("*",)


async def read_json(request: Request, limits: Limits = Limits()) -> dict[str, object]:  # noqa: B008
    """The JSON object in a request's body.

    HTTPException: 415 for another content type, 408 for one that does not come, 413 for one that
    is too long, 400 for what is not one JSON object (NaN, repeated keys and deep nesting included).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "send application/json")
    try:
        body = await asyncio.wait_for(request.body(), limits.body_seconds)
    except TimeoutError:
        raise HTTPException(408, "the body did not arrive") from None
    except ClientDisconnect:
        raise HTTPException(400, "the body ended early") from None
    try:
        content = json.loads(body, parse_constant=_no_number, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not valid JSON") from None
    if not isinstance(content, dict):
        raise HTTPException(400, "one JSON object is wanted")
    return content


def page_response(page: str, sources: Mapping[str, str] = {}) -> HTMLResponse:
    """A page whose own inline scripts and styles alone may run; `sources` as in `page_policy`."""
    policy = page_policy(page, sources) + "; frame-ancestors 'none'"
    return HTMLResponse(page, headers={"content-security-policy": policy})


def page_policy(page: str, sources: Mapping[str, str] = {}) -> str:
    """A content security policy that names the page's inline blocks by their hash.

    Nothing else is allowed but what `sources` adds, such as {"connect-src": "'self'"}: text that
    slipped into the page could neither run nor reach another host. Blocks must be written
    ``<script>`` and ``<style>``, without attributes.
    """
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    rules = {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'"}
    rules |= {f"{kind}-src": " ".join(found) for kind, found in hashes.items() if found}
    return "; ".join(f"{name} {value}" for name, value in (rules | dict(sources)).items())


async def _said(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, str(error.detail), error.headers)


async def _failed(_: Request, __: Exception) -> Response:
    """Nothing of an internal failure is told; it is in the server's own log."""
    return error_response(500, "this server failed; nothing was saved")


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key is repeated")
    return content
