"""HTTP to a server of Unembed: the steps of flows, done by a program that waits for each, or by one that awaits it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Final, TypeVar

import httpx2

from unembed.calls.remote import RemoteServer
from unembed.calls.steps import Call, Flow, LocalWork, Many, OneOfMany, Pause, Sending, Step
from unembed.errors import InputError, MissingExtraError

# Each job that is waited for has a connection.
_LIMITS: Final = httpx2.Limits(max_connections=1000, max_keepalive_connections=20)
UPLOADS: Final = 4  # batches on their way at once; twice as many are held in memory

T = TypeVar("T")


class Transport:
    """Does the steps of flows with one server; safe to share between threads."""

    def __init__(
        self,
        server: RemoteServer,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.server = server
        self._sleep = sleep
        with _naming_proxies(server):
            self._http = httpx2.Client(transport=transport, limits=_LIMITS, trust_env=not server.is_here)

    def close(self) -> None:
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """What the call reads in the answer. Raises as `RemoteServer.ask` does."""
        return self.run(self.server.ask(call))

    def run(self, flow: Flow[T], stop: threading.Event | None = None) -> T:
        """What the flow returns. `stop` ends every pause."""
        try:
            step = next(flow)
            while True:
                try:
                    done = self._do(step, stop)
                except BaseException as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(done)
        except StopIteration as end:
            returned: T = end.value
            return returned

    def _do(self, step: Step, stop: threading.Event | None) -> Any:
        match step:
            case Call():
                return self.run(self.server.ask(step), stop)
            case Sending(call):
                _require_open(self._http)
                return self._http.request(**_request(self.server, call))
            case Pause(seconds) if stop is not None:
                return stop.wait(seconds)
            case Pause(seconds):
                self._sleep(seconds)
                return False
            case LocalWork(do):
                return do()
            case Many():
                return self._each(step)

    def _each(self, each: Many) -> None:
        waiting: deque[tuple[int, Future[None]]] = deque()
        stop = threading.Event()

        def settle() -> None:
            rows, future = waiting.popleft()
            future.result()
            each.settled(rows)

        with ThreadPoolExecutor(UPLOADS, "upload") as pool:
            try:
                for part in each.parts:
                    within = copy_context()  # of the trace, if there is one
                    waiting.append((part.rows, pool.submit(within.run, self._part, part, stop)))
                    if len(waiting) == 2 * UPLOADS:
                        settle()
                while waiting:
                    settle()
            except BaseException:
                stop.set()  # nobody waits for a server that is busy any more
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _part(self, part: OneOfMany, stop: threading.Event) -> None:
        if (call := part.call()) is not None:
            self.run(self.server.ask(call), stop)


class AsyncTransport:
    """The same, for one event loop of asyncio."""

    def __init__(
        self,
        server: RemoteServer,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.server = server
        self._sleep = sleep
        with _naming_proxies(server):
            self._http = httpx2.AsyncClient(transport=transport, limits=_LIMITS, trust_env=not server.is_here)

    async def close(self) -> None:
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """What the call reads in the answer. Raises as `RemoteServer.ask` does."""
        return await self.run(self.server.ask(call))

    async def run(self, flow: Flow[T]) -> T:
        """What the flow returns. A task that is cancelled ends the flow, which may do a last step or two."""
        try:
            step = next(flow)
            while True:
                try:
                    done = await self._do(step)
                except BaseException as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(done)
        except StopIteration as end:
            returned: T = end.value
            return returned

    async def _do(self, step: Step) -> Any:
        match step:
            case Call():
                return await self.run(self.server.ask(step))
            case Sending(call):
                _require_open(self._http)
                return await self._http.request(**_request(self.server, call))
            case Pause(seconds):
                await self._sleep(seconds)
                return False
            case LocalWork(do):
                return await asyncio.to_thread(do)
            case Many():
                return await self._each(step)

    async def _each(self, each: Many) -> None:
        waiting: deque[tuple[int, asyncio.Task[None]]] = deque()
        free = asyncio.Semaphore(UPLOADS)

        async def settle() -> None:
            rows, task = waiting[0]
            await task
            waiting.popleft()
            each.settled(rows)

        try:
            while (part := await asyncio.to_thread(next, each.parts, None)) is not None:
                waiting.append((part.rows, asyncio.create_task(self._part(part, free))))
                if len(waiting) == 2 * UPLOADS:
                    await settle()
            while waiting:
                await settle()
        finally:
            for _, task in waiting:
                task.cancel()
            await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)

    async def _part(self, part: OneOfMany, free: asyncio.Semaphore) -> None:
        async with free:
            if (call := await asyncio.to_thread(part.call)) is not None:
                await self.send(call)


def _request(server: RemoteServer, call: Call[Any]) -> dict[str, Any]:
    return {
        "method": call.method,
        "url": f"{server.url}{call.path}",
        "params": call.params or None,
        "headers": {**server.headers(), **call.headers},
        "json": call.json,
        "content": call.content,
        "timeout": httpx2.Timeout(server.timeout, read=server.timeout + call.patience, pool=None),
    }


def _require_open(http: httpx2.Client | httpx2.AsyncClient) -> None:
    if http.is_closed:
        raise InputError("this client is closed; make another one")


@contextmanager
def _naming_proxies(server: RemoteServer) -> Iterator[None]:
    """What the environment says of proxies is read when a client is made."""
    try:
        yield
    except ImportError as error:  # of a SOCKS proxy
        raise MissingExtraError(
            "the environment names a SOCKS proxy (ALL_PROXY, HTTP_PROXY or HTTPS_PROXY), for which the package "
            "socksio is needed: pip install socksio, or unset the variable"
        ) from error
    except (httpx2.InvalidURL, ValueError) as error:
        raise InputError(f"{server.url}, or the proxy that the environment names, cannot be used: {error}") from error
