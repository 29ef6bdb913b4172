"""The shield in front of a server's routes: headers, limits, and nothing told of the machine."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TRACKED_CLIENTS = 4096
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
# who made the server, and when a file was made, is nobody's business
REMOVED = {b"server", b"etag", b"last-modified"}


@dataclass(frozen=True)
class Limits:
    """What one client may send: bytes a request, seconds to send them, requests a minute."""

    body_bytes: int = 64 * 1024
    body_seconds: float = 10.0
    requests_per_minute: int = 600


class RateLimit:
    """A bucket of tokens a client that refills steadily; memory is bounded by TRACKED_CLIENTS."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def allows(self, client: str) -> bool:
        """Whether `client` may make a request now; a refused one costs nothing."""
        now = self._clock()
        level, since = self._buckets.pop(client, (self._capacity, now))
        level = min(self._capacity, level + (now - since) * self._capacity / 60)
        allowed = level >= 1
        self._buckets[client] = (level - 1 if allowed else level, now)
        if len(self._buckets) > TRACKED_CLIENTS:
            self._buckets.popitem(last=False)
        return allowed


class Shield:
    """Checks before a request reaches a route, and headers on whatever comes back."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...], limits: Limits) -> None:
        self._app = app
        self._hosts = hosts
        self._limits = limits
        self._rate = RateLimit(limits.requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        shielded = _with_headers(send)
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, shielded)
            return
        await self._app(scope, self._counted(receive), shielded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = dict(scope["headers"])
        client = (scope.get("client") or ("unknown", 0))[0]
        if "*" not in self._hosts and _host(headers.get(b"host", b"")) not in self._hosts:
            return error_response(400, "this server does not answer to that name")
        if not self._rate.allows(client):
            return error_response(429, "too many requests; wait a little", {"retry-after": "5"})
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._limits.body_bytes:
            return error_response(413, f"at most {self._limits.body_bytes} bytes are taken")
        return None

    def _counted(self, receive: Receive) -> Receive:
        """`receive` that stops a body which is longer than its header said."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limits.body_bytes:
                raise HTTPException(413, f"at most {self._limits.body_bytes} bytes are taken")
            return message

        return counted


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message["headers"] if pair[0].lower() not in REMOVED]
            present = {name.lower() for name, _ in kept}
            added = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
            headers = [*kept, *((k, v) for k, v in added if k not in present)]
            message = {**message, "headers": headers}
        await send(message)

    return sent


def _host(header: bytes) -> str:
    """The name in a Host header, without port and brackets."""
    text = header.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def error_response(
    status: int, what: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse({"error": what}, status, headers=headers)
