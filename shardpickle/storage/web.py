"""HTTP with bounds on time and size, and on one host. Knows nothing of models.

fsspec speaks HTTP through aiohttp, which follows redirects to any host, reads responses of any
length, and ends a whole exchange after five minutes, which is too short for large shards.
"""

import errno
from typing import Any

from shardpickle.errors import StorageError, StoragePermissionError

CONNECT = 30.0  # seconds to connect
SILENCE = 60.0  # seconds without a byte


def bound_options(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Add the bounds to the options of fsspec's file system. A caller's own `get_client` stays."""
    if url.startswith(("http://", "https://")):
        return {"get_client": open_client, **options}
    return options


async def open_client(**options: Any) -> Any:
    """Open an ``aiohttp.ClientSession`` that ends connections which exceed the bounds."""
    import aiohttp

    watch = aiohttp.TraceConfig()
    watch.on_request_redirect.append(_stay)
    traces = [*options.pop("trace_configs", ()), watch]
    limits = aiohttp.ClientTimeout(total=None, connect=CONNECT, sock_read=SILENCE)
    settings = {"timeout": limits, "response_class": _make_capped(), **options}
    return aiohttp.ClientSession(trace_configs=traces, **settings)


async def _stay(session: Any, context: Any, request: Any) -> None:
    """Refuse a redirect to another host or port, which only this machine might be able to reach."""
    headers = request.response.headers
    asked = request.response.url
    target = asked.join(type(asked)(headers.get("Location") or headers.get("URI") or ""))
    if (asked.host, asked.port) != (target.host, target.port):
        raise StoragePermissionError(
            errno.EACCES,
            f"the server redirects to {str(target.origin())[:200]}, and shardpickle stays on the "
            "host that you named; if you trust the other one, give its URL",
            str(asked.with_query(None).with_user(None)),
        )


def _make_capped() -> type:
    import aiohttp

    class Capped(aiohttp.ClientResponse):
        async def read(self) -> bytes:
            """Read the body, and raise if it is longer than the requested range."""
            most = _count_requested(self.request_info.headers.get("Range", ""))
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


def _count_requested(ranged: str) -> int | None:
    """Count the bytes that ``bytes=FIRST-LAST`` requests; None if it is something else."""
    first, dash, last = ranged.removeprefix("bytes=").partition("-")
    if dash and first.isdigit() and last.isdigit():
        return int(last) - int(first) + 1
    return None
