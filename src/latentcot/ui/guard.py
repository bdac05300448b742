"""Which requests the page answers: small ones, that carry no files, from its own pages, under a name of its own.

Any web site that a person visits can make their browser send requests to a server on their machine. It cannot hide
where they come from (the header Origin), nor, where its own name was pointed at this machine (DNS rebinding), under
which name they were sent (the header Host).
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

LARGEST_BODY = 1_000_000
"""Bytes of the largest request; the longest question takes less, however it is encoded."""


class Guard:
    """ASGI middleware that refuses what the page does not need; `host` is the address that the page listens on."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app, self.host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with the reason why not."""
        found = find_refusal(scope, self.host) if scope["type"] in ("http", "websocket") else None
        if found is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": found[1]})
        else:
            status, reason = found
            await PlainTextResponse(f"{reason}\n", status)(scope, receive, send)


def find_refusal(scope: Scope, host: str) -> tuple[int, str] | None:
    """Return the HTTP status and the reason why a request is refused; None if the page answers it."""
    headers = Headers(scope=scope)
    name = _host_name(headers.get("host", ""))
    if is_local(host) and name not in (*LOCAL_NAMES, host):
        return 403, f"this page answers under {' or '.join(LOCAL_NAMES[:2])} only: start it with --host for other names"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return 403, "requests from other web sites are refused: open the page itself"
    if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
        return _find_body_refusal(scope, headers)
    return None


def _find_body_refusal(scope: Scope, headers: Headers) -> tuple[int, str] | None:
    length = headers.get("content-length", "0" if scope["method"] == "OPTIONS" else "")
    if "/upload" in scope["path"] or headers.get("content-type", "").startswith("multipart/"):
        return 403, "this page takes no files"
    if not (length.isascii() and length.isdigit()):
        return 411, "give the length of the request"
    if len(length) > 20 or int(length) > LARGEST_BODY:
        return 413, f"a request may have {LARGEST_BODY:,} bytes: ask a shorter question"
    return None


def is_local(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_name(header: str) -> str | None:
    """Return the name in a Host header, without the port; None if there is none."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None
