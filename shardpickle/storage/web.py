"""HTTP within bounds: of time, of size, and on one host. Knows nothing of models.

fsspec speaks HTTP through aiohttp, which follows a redirect anywhere, reads what the server sends
however long it is, and gives a whole exchange five minutes, which large shards may need.
"""

import errno
from typing import Any

from shardpickle.errors import StorageError, StoragePermissionError

CONNECT = 30.0  # seconds until a connection stands
SILENCE = 60.0  # seconds without a byte


def bounded(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options for fsspec's file system, which a caller's own `get_client` stays."""
    if url.startswith(("http://", "https://")):
        return {"get_client": open_client, **options}
    return options


async def open_client(**options: Any) -> Any:
    """An ``aiohttp.ClientSession``: the connection ends where the server does otherwise."""
    import aiohttp

    watch = aiohttp.TraceConfig()
    watch.on_request_redirect.append(_stay)
    traces = [*options.pop("trace_configs", ()), watch]
    limits = aiohttp.ClientTimeout(total=None, connect=CONNECT, sock_read=SILENCE)
    settings = {"timeout": limits, "response_class": _capped(), **options}
    return aiohttp.ClientSession(trace_configs=traces, **settings)


async def _stay(session: Any, context: Any, request: Any) -> None:
    """Refuse a redirect to another host or port: it could ask what only this machine may ask."""
    headers = request.response.headers
    asked = request.response.url
    target = asked.join(type(asked)(headers.get("Location") or headers.get("URI") or ""))
    if (asked.host, asked.port) != (target.host, target.port):
        raise StoragePermissionError(
            errno.EACCES,
            f"the server sends the request on to {str(target.origin())[:200]}, and shardpickle "
            "stays on the host that you named; if you trust that one, give its URL",
            str(asked.with_query(None).with_user(None)),
        )


def _capped() -> type:
    import aiohttp

    class Capped(aiohttp.ClientResponse):
        async def read(self) -> bytes:
            """The body; of a request for a range no more than that."""
            most = _span(self.request_info.headers.get("Range", ""))
            if most is not None and self._body is None:
                body = bytearray()
                async for chunk in self.content.iter_chunked(1 << 16):
                    body += chunk
                    if len(body) > most:
                        self.close()
                        raise StorageError(
                            errno.EIO,
                            f"the server sends more than the {most} bytes that were asked for",
                            str(self.url.with_query(None).with_user(None)),
                        )
                self._body = bytes(body)
            return await super().read()

    return Capped


def _span(ranged: str) -> int | None:
    """How many bytes ``bytes=FIRST-LAST`` asks for."""
    first, dash, last = ranged.removeprefix("bytes=").partition("-")
    if dash and first.isdigit() and last.isdigit():
        return int(last) - int(first) + 1
    return None
