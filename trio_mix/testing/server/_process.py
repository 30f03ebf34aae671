"""The process of a bundled server: it accepts connections, keeps sessions, and is restarted."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trio_mix._lifetime import OwnedNursery
from trio_mix.errors import UsageError
from trio_mix.testing._records import ServerStarted, ServerStopped
from trio_mix.testing.net._http1 import serve_connection
from trio_mix.testing.net._listener import MEMORY_URL, open_listener
from trio_mix.testing.net._memory import sever
from trio_mix.testing.server import (
    _account_routes,
    _file_routes,
    _message_routes,
    _rpc_routes,
    _session_routes,
    _tunnel_routes,
)
from trio_mix.testing.server._routes import dispatch

if TYPE_CHECKING:
    from typing import Literal

    from trio_mix.testing.net._guard import RequestGuard
    from trio_mix.testing.net._memory import MemoryStream
    from trio_mix.testing.server._backend import Backend
    from trio_mix.testing.server._script import Restart
    from trio_mix.testing.server._state_file import StateFile
    from trio_mix.testing.server._traits import Traits

_ROUTES: Final = (
    *_session_routes.ROUTES,
    *_message_routes.ROUTES,
    *_rpc_routes.ROUTES,
    *_file_routes.ROUTES,
    *_account_routes.ROUTES,
    *_tunnel_routes.ROUTES,
)


class ServerProcess:
    """Accepts connections while it runs; `start`, `stop` and `restart` wait for each other.

    Args:
      backend: the server's state.
      guard: checks the origin of requests.
      address: the host and the port to bind; None: no socket is opened.
      state: where the sessions are saved; None: they are not.

    Attributes:
      address: the same, with the port that was bound.
      url: the address for clients; restarts keep it.
      state: as the argument.
    """

    def __init__(
        self,
        backend: Backend,
        guard: RequestGuard,
        address: tuple[str, int] | None,
        state: StateFile | None,
    ) -> None:
        self.address: tuple[str, int] | None = address
        self.url: str = MEMORY_URL if address is None else ""
        self._backend = backend
        self._tasks = OwnedNursery("MixServer")
        self._guard = guard
        self.state: StateFile | None = state
        self._transports: set[trio.abc.Stream] = set()
        self._scope: trio.CancelScope | None = None
        self._stopped = trio.Event()
        self._changing = trio.Lock()
        backend.restart = self._restart_later

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._transports)

    def accept(self, stream: MemoryStream) -> bool:
        """Serve a connection in memory; return whether the process runs."""
        if self._backend.nursery is None or self._scope is None:  # stopped, or stopping
            return False
        self._backend.nursery.start_soon(self._connection, stream)
        return True

    async def open(self) -> None:
        """Read the saved sessions and start; what has begun is undone if that fails.

        Raises:
          ConfigurationError: the file of the sessions cannot be used.
          OSError: the file cannot be read, or the address cannot be bound.
        """
        nursery = await self._tasks.open()
        try:
            if self.state is not None:
                self._backend.restore(*await self.state.open())
                nursery.start_soon(self.state.keep, self._backend.store, self._backend.log)
            await self.start()
        except BaseException:
            await self._tasks.close("the server could not start")
            if self.state is not None:
                self.state.close()
            raise

    async def start(self) -> None:
        """Accept connections, at the same address as before.

        Raises:
          UsageError: it runs, or the server's ``async with`` was left.
          OSError: the address cannot be bound.
        """
        async with self._changing:
            await self._start()

    async def stop(self, how: Literal["cut", "reset"]) -> None:
        """Close all connections and end all turns; without effect if it does not run.

        Raises:
          UsageError: a turn of this server called it.
        """
        async with self._changing:
            await self._stop(how)

    async def restart(
        self, how: Literal["cut", "reset"], traits: Traits, *, keep_sessions: bool
    ) -> None:
        """Stop, and start again as a server with these traits; raises what these raise."""
        async with self._changing:
            await self._stop(how)
            self._backend.traits = traits
            if not keep_sessions:
                self._backend.forget_everything()
            await self._start()

    async def close(self, reason: str, leaving: BaseException | None) -> None:
        """End all tasks of the server and save its sessions.

        Raises what `OwnedNursery.close` and `StateFile.finish` raise.
        """
        self._scope = None
        try:
            await self._tasks.close(reason, leaving)
        finally:
            if self.state is not None:
                await self.state.finish(self._backend.store)

    def _restart_later(self, step: Restart) -> None:
        """Restart in a task that no turn runs in."""
        if self._tasks.nursery is not None:
            self._tasks.nursery.start_soon(self._restart_for, step)

    async def _restart_for(self, step: Restart) -> None:
        try:
            async with self._changing:
                await self._cut(step.how)
                if not step.keep_sessions:
                    self._backend.forget_everything()
                await trio.sleep(step.seconds)
                await self._start()
        except (OSError, UsageError) as error:
            await trio.lowlevel.checkpoint()
            self._backend.failed(error)

    async def _start(self) -> None:
        nursery = self._tasks.nursery
        if nursery is None or self._scope is not None:
            raise UsageError("start() needs a stopped server inside its `async with`")
        listeners: list[trio.SocketListener] = []
        if self.address is not None:
            host, port = self.address
            listener, self.url = await open_listener(host, port)
            self.address = host, listener.socket.getsockname()[1]
            listeners.append(listener)
        self._stopped = trio.Event()
        self._scope = trio.CancelScope()
        try:
            await nursery.start(self._serve, listeners, self._scope)
        except BaseException:
            self._scope = None
            for listener in listeners:
                listener.socket.close()
            raise
        self._backend.log.add(ServerStarted(url=self.url))

    async def _stop(self, how: Literal["cut", "reset"]) -> None:
        await trio.lowlevel.checkpoint()
        if self._scope is None:
            return
        if self._tasks.runs_current_task():
            raise UsageError(
                "a turn of this server cannot stop it: call stop() in another task, or use the "
                "step Restart"
            )
        await self._cut(how)

    async def _cut(self, how: Literal["cut", "reset"]) -> None:
        await trio.lowlevel.checkpoint()
        if self._scope is None:
            return
        for transport in list(self._transports):
            sever(transport, how)
        self._scope.cancel(reason="the server was stopped")
        self._scope = None
        with trio.CancelScope(shield=True):
            await self._stopped.wait()
        self._backend.log.add(ServerStopped())

    async def _serve(
        self,
        listeners: list[trio.SocketListener],
        scope: trio.CancelScope,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    self._backend.nursery = nursery
                    for listener in listeners:
                        nursery.start_soon(self._take, listener, nursery)
                    task_status.started()
                    await trio.sleep_forever()
        finally:
            self._backend.nursery = None
            self._stopped.set()

    async def _take(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        await trio.serve_listeners(self._connection, [listener], handler_nursery=nursery)

    async def _connection(self, stream: trio.abc.Stream) -> None:  # noqa: ASYNC910 - started as a task
        self._transports.add(stream)
        try:
            await serve_connection(
                stream,
                partial(dispatch, self._backend, _ROUTES),
                max_body=self._backend.settings.max_upload,
                guard=self._guard,
                refused=self._backend.log.add_refused,
                now=self._backend.now,
            )
        except Exception as error:  # noqa: BLE001 - kept, and raised when the server is left
            self._backend.failed(error)
        finally:
            self._transports.discard(stream)
