"""The tunnel, which connects a browser of this machine to an agent's session.

Rules that the tests cite:

1. The browser's connection is opened once: when it is lost, the tunnel ends. The server's
   connection is reconnected under the policy, as that of a session stream.
2. Only answers and logs are sent to the server. The browser's events are not.
3. The commands of a lost connection to the server are dropped with it: the next connection does not
   know them, so their answers are not sent.
4. The body's exception leaves the ``async with`` unchanged, and so does a cancellation. The error
   that ended the tunnel is raised by the method that waits for it, else on exit, unless the body
   has raised itself.
5. No task and no connection outlives the ``async with``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, Self, final

import trio

from trio_mix._lifetime import OwnedNursery
from trio_mix._usage import AsyncScope
from trio_mix.browser._chromium import Chromium
from trio_mix.browser._commands import to_json
from trio_mix.browser._context import BrowserContext
from trio_mix.browser._discovery import BrowserAddress, browser_source
from trio_mix.browser._endpoint import TunnelEndpoint
from trio_mix.browser._errors import BrowserGone
from trio_mix.browser._filter import CommandFilter
from trio_mix.browser._folder import PrivateFolder
from trio_mix.browser._policy import CommandChecker, Policy
from trio_mix.browser._proxy import FilteringProxy
from trio_mix.browser._settings import TunnelSettings
from trio_mix.browser._statistics import TunnelStatistics
from trio_mix.browser._supervisor import TunnelSupervisor
from trio_mix.browser._transport import TransportLost
from trio_mix.browser._websocket import open_tcp
from trio_mix.errors import (
    ConfigurationError,
)
from trio_mix.sse import ReconnectPolicy, StreamState

if TYPE_CHECKING:
    import os
    import ssl
    from pathlib import Path
    from types import TracebackType

    from trio_mix._rest._core import MixCore
    from trio_mix.browser._endpoint import TokenSource
    from trio_mix.browser._filter import OnCommand
    from trio_mix.browser._websocket import Connect

MAX_ANSWER_SIZE: Final = 10_000_000
"""In bytes: 10 MB, counted in thousands."""
MAX_QUEUE_SIZE: Final = 64 * 2**20
"""In bytes."""
COMMAND_TIMEOUT: Final = 28.0
"""In seconds: the server times out after 30."""
_DEFAULT_POLICY: Final = ReconnectPolicy()


def open_tunnel(
    mix: MixCore,
    session_id: str,
    *,
    token: TokenSource,
    browser: Chromium | None = None,
    cdp_url: str | None = None,
    policy: Policy | None = None,
    on_command: OnCommand | None = None,
    folder: str | os.PathLike[str] | None = None,
    reconnect: ReconnectPolicy = _DEFAULT_POLICY,
    connect_timeout: float = 10.0,
    command_timeout: float = COMMAND_TIMEOUT,
    max_answer_size: int = MAX_ANSWER_SIZE,
    max_queue_size: int = MAX_QUEUE_SIZE,
    ping_interval: float = 30.0,
    ping_timeout: float = 20.0,
    close_timeout: float = 5.0,
    ssl_context: ssl.SSLContext | None = None,
    connect: Connect = open_tcp,
) -> Tunnel:
    """Return a tunnel that connects a browser to a session; use it with ``async with``.

    The session must have been created with ``browser_mode="electron-embedded-browser"``.

    Args:
      mix: the client; its address and its headers are used.
      session_id: the session.
      token: the token that the server requires, or a function (sync or async) that returns it and
        is called at each connect. It must not be empty.
      browser: a running Chromium of `launch_chromium`. Its policy holds.
      cdp_url: instead of ``browser``, the DevTools of a browser that you started: the ``ws://`` URL
        of their endpoint, or the ``http://`` address of a browser with
        ``--remote-debugging-port``.
      policy: what the agent may do with the browser at ``cdp_url``, by default `Policy()`.
      on_command: a function, sync or async, that is called with each `BrowserCommand` that the
        policy permits. The command is run only if it returns True. An exception ends the tunnel.
      folder: where uploads are taken from, of this user only; downloads are stored in its
        subfolder ``downloads``. The default
        is a new folder, which is removed with the tunnel.
      reconnect: how and for how long a lost connection to the server is reconnected.
      connect_timeout: the timeout of a connect in seconds, to the browser and to the server; the
        first connect to the server and its retries must succeed within it.
      command_timeout: seconds after which a command that the browser has not answered is answered
        with an error. Servers time out after 30.
      max_answer_size: in bytes; a larger answer is replaced by an error. Servers accept 10 MB.
      max_queue_size: in bytes; if the pending commands and their answers exceed it, further
        commands are answered with an error. If the server does not read the answers, and they
        exceed it, the connection is closed and made again.
      ping_interval: seconds between pings to the server.
      ping_timeout: seconds without an answer to a ping after which the connection counts as lost.
      close_timeout: the timeout of the closing handshake in seconds.
      ssl_context: the context for ``https`` servers and ``wss`` browsers, instead of the default.
      connect: opens TCP connections, called as ``await connect(host, port)``; for proxies and
        tests.

    Raises:
      ConfigurationError: if a value is invalid.
    """
    settings = TunnelSettings(
        reconnect=reconnect,
        connect_timeout=connect_timeout,
        command_timeout=command_timeout,
        max_answer_size=max_answer_size,
        max_queue_size=max_queue_size,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        close_timeout=close_timeout,
        connect=connect,
    )
    source = browser_source(browser, cdp_url, policy)
    server = TunnelEndpoint(mix, session_id, token, ssl_context)
    return Tunnel(
        server,
        session_id,
        source,
        browser.policy if browser is not None else policy or Policy(),
        on_command,
        PrivateFolder(folder),
        settings,
        ssl_context,
    )


@final
class Tunnel(AsyncScope):
    """A supervised connection between a browser's DevTools and a session of a Mix server.

    Made by `open_tunnel`; use it as an async context manager. Its tasks run in a nursery that the
    ``async with`` closes; the body's exceptions pass through it unwrapped. An error that ends the
    tunnel does not interrupt the body: `wait_closed` raises it, else the end of the ``async with``.
    """

    _entered_as = "async with open_tunnel(...) as tunnel"

    def __init__(
        self,
        server: TunnelEndpoint,
        session_id: str,
        source: Chromium | BrowserAddress,
        policy: Policy,
        on_command: OnCommand | None,
        folder: PrivateFolder,
        settings: TunnelSettings,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        self._server = server
        self._session_id = session_id
        self._source = source
        self._policy = policy
        self._on_command = on_command
        self._folder = folder
        self._settings = settings
        self._ssl_context = ssl_context
        self._supervisor = TunnelSupervisor(server, session_id, settings)
        self._lifetime = OwnedNursery("Tunnel")
        self._context: BrowserContext | None = None
        self._proxy: FilteringProxy | None = None

    def __repr__(self) -> str:
        return (
            f"<trio_mix.browser.Tunnel of session {self._session_id!r} to {self._shown_source}"
            f" ({self.state.value})>"
        )

    @property
    def session_id(self) -> str:
        """The session."""
        return self._session_id

    @property
    def url(self) -> str:
        """The tunnel's URL at the server, without token or password."""
        return self._server.shown

    @property
    def policy(self) -> Policy:
        """What the agent may do with the browser."""
        return self._policy

    @property
    def folder(self) -> Path | None:
        """Where downloads and uploads are; None before it is entered, or without one."""
        return self._folder.path

    @property
    def state(self) -> StreamState:
        """The state of the tunnel: connecting, connected, reconnecting, or closed."""
        return self._supervisor.state

    async def __aenter__(self) -> Self:
        """Connect to the browser, then to the server.

        Raises:
          BrowserGone: no browser answers at ``cdp_url``.
          TunnelRefused: the server refused the tunnel, for example because of the token.
          SessionNotFound: the server does not know the session.
          ConnectionFailed, RequestTimeout: the server did not answer within ``connect_timeout``.
          ConfigurationError: the token is empty, or a header is invalid.

        A checkpoint. If it is cancelled, no task or connection is left.
        """
        nursery = await self._lifetime.open()
        try:
            await self._open_browser(nursery)
            await self._supervisor.wait_first_connected()
        except BaseException as exc:
            await self._close(exc)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close both connections and end all tasks; may raise what ended the tunnel (rule 4)."""
        await self._close(exc)
        if exc is None and self._supervisor.failure is not None and not self._supervisor.raised:
            raise self._supervisor.failure

    async def wait_connected(self) -> None:
        """Wait until the tunnel is connected to the server; return at once if it is.

        Raises:
          StreamClosed: the ``async with`` was left.
          BrowserGone, TunnelRefused, SessionNotFound, ReconnectFailed: the tunnel has ended.

        A checkpoint. Cancelling it does not affect the tunnel.
        """
        await self._supervisor.wait_connected()

    async def wait_closed(self) -> NoReturn:
        """Wait until the tunnel has ended, and raise the error: the main loop of a service.

        Raises:
          BrowserGone: the browser has ended, or the connection to it was lost.
          ReconnectFailed: the server's connection was lost and not restored under the policy.
          TunnelRefused, SessionNotFound: the server refused a reconnect.
          StreamClosed: the ``async with`` was left.

        A checkpoint. Cancelling it does not affect the tunnel.
        """
        await self._supervisor.wait_closed()

    async def log(self, **fields: object) -> bool:
        """Send a log entry (``browser_log``) to the server, which does not answer it.

        Args:
          fields: the fields of the entry, as JSON values; servers know ``level`` and ``message``.

        Returns:
          Whether it was sent. It is not if there is no connection, or if it exceeds the limit.

        Raises:
          ConfigurationError: a field is not JSON.

        A checkpoint. If it is cancelled while a large entry is being sent, the tunnel reconnects.
        """
        await trio.lowlevel.checkpoint()
        try:
            text = to_json({**fields, "type": "browser_log"})
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"Tunnel.log(): a field is not JSON: {error}") from None
        connection = self._supervisor.connection
        if connection is None or len(text) > self._settings.max_answer_size:
            return False
        try:
            await connection.send(text)
        except TransportLost:
            return False
        return True

    def statistics(self) -> TunnelStatistics:
        """Return a snapshot of the tunnel's state and counters."""
        supervisor = self._supervisor
        devtools = None if self._context is None else self._context.devtools
        counters = supervisor.counters
        return TunnelStatistics(
            state=supervisor.state,
            connects=supervisor.connects,
            attempts=supervisor.attempts,
            losses=supervisor.losses,
            last_loss=supervisor.last_loss,
            last_loss_time=supervisor.last_loss_time,
            commands=counters.commands,
            answers=counters.answers,
            errors=counters.errors,
            pending=0 if supervisor.connection is None else supervisor.connection.pending,
            timeouts=counters.timeouts,
            too_large=counters.too_large,
            garbage=counters.garbage + (0 if devtools is None else devtools.garbage),
            dropped=counters.dropped + (0 if devtools is None else devtools.late),
            denied=counters.denied,
            refused=0 if self._proxy is None else self._proxy.refused,
            events=0 if devtools is None else devtools.events,
        )

    # Opening

    async def _open_browser(self, nursery: trio.Nursery) -> None:
        source, page_only, local = self._source, False, True
        if isinstance(source, BrowserAddress):
            page_only, local = source.is_page, source.is_local
            if self._policy.filter_network:
                self._proxy = FilteringProxy(self._policy._address_rules())
                await self._proxy.start(nursery)
            devtools = await source.open(nursery, self._settings, self._ssl_context)
        else:
            devtools, self._proxy = source._connection()
        self._context = context = BrowserContext(
            devtools,
            proxy=self._proxy,
            folder=await self._folder.open() if local else None,
            page_only=page_only,
        )
        limit = self._settings.connect_timeout
        with trio.move_on_after(limit) as scope:
            await context.open(nursery)
        if scope.cancelled_caught:
            raise BrowserGone(
                f"The browser at {devtools.shown} did not open a tab within {limit:g} s. Start it"
                " again, or raise open_tunnel(connect_timeout=...).",
                browser=devtools.shown,
            )
        commands = CommandFilter(
            CommandChecker(self._policy, self._folder.path, context),
            context,
            self._on_command,
            counters=self._supervisor.counters,
            fail=self._supervisor.fail,
            nursery=nursery,
        )
        nursery.start_soon(self._supervisor.run, commands, devtools, nursery)

    async def _close(self, leaving: BaseException | None) -> None:
        try:
            await self._lifetime.close("the tunnel is closing", leaving)
        finally:
            if self._context is not None:
                await self._context.dispose(self._settings.close_timeout)
            await self._folder.close()
            self._supervisor.change(StreamState.CLOSED)

    @property
    def _shown_source(self) -> str:
        source = self._source
        return repr(source) if isinstance(source, Chromium) else f"the browser at {source.shown}"
