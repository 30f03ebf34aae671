"""The tunnel: a browser here, put at the service of an agent there.

What it knows: the nursery, both connections, when to connect again, how leaving comes out.
What it must never know: frames, CDP's meaning.

The rules it keeps (the tests cite the numbers):

1. The browser's connection lasts as long as the tunnel: it is lost once, and for good. The server's
   is made again under the policy, as a stream's is.
2. Only answers and logs go to the server. The browser's events stay here.
3. A lost server takes its commands with it: their answers are dropped, not kept for the next
   connection, which knows nothing of them.
4. The caller's exception comes out as it went in, and so does a cancellation. What has ended the
   tunnel is raised by whatever waits for it, else on leaving, unless the body has raised itself.
5. Nothing is left behind: no task, no connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, Self, final

import trio

from trio_mix._http._urls import Target
from trio_mix.browser._commands import to_json
from trio_mix.browser._devtools import DevTools, devtools_url, http_form, open_devtools
from trio_mix.browser._endpoint import TunnelEndpoint, address_of
from trio_mix.browser._settings import TunnelSettings
from trio_mix.browser._statistics import TunnelStatistics
from trio_mix.browser._supervisor import TunnelSupervisor
from trio_mix.browser._websocket import WebSocketLost, open_tcp
from trio_mix.errors import (
    ConfigurationError,
    UsageError,
)
from trio_mix.sse import ReconnectPolicy, StreamState

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from trio_mix._rest._core import MixCore
    from trio_mix.browser._endpoint import TokenSource
    from trio_mix.browser._websocket import Connect

__all__ = ["Tunnel", "open_tunnel"]

MAX_ANSWER_SIZE: Final = 10_000_000
"""In bytes: 10 MB by the smaller of its two meanings."""
COMMAND_TIMEOUT: Final = 28.0
"""In seconds: the server gives up after 30."""
_DEFAULT_POLICY: Final = ReconnectPolicy()


def open_tunnel(
    mix: MixCore,
    session_id: str,
    *,
    token: TokenSource,
    cdp_url: str,
    reconnect: ReconnectPolicy = _DEFAULT_POLICY,
    connect_timeout: float = 10.0,
    command_timeout: float = COMMAND_TIMEOUT,
    max_answer_size: int = MAX_ANSWER_SIZE,
    ping_interval: float = 30.0,
    ping_timeout: float = 20.0,
    close_timeout: float = 5.0,
    ssl_context: ssl.SSLContext | None = None,
    connect: Connect = open_tcp,
) -> Tunnel:
    """Return a tunnel; entering it (``async with``) connects a browser here to a session there.

    The session is one that was created with ``browser_mode="electron-embedded-browser"``.

    Args:
      mix: the client; its address and its headers are used.
      session_id: the session.
      token: what the server knows the tunnel by; or a function, async or not, that is asked for it
        at each connect. It must not be empty.
      cdp_url: the browser's DevTools: the ``ws://`` URL of its endpoint, or the ``http://`` address
        that tells it (``--remote-debugging-port``); `launch_chromium` has one.
      reconnect: how a lost connection to the server is made again, and for how long it is tried.
      connect_timeout: seconds that a connect may take; the first one has to succeed within them,
        further tries included.
      command_timeout: seconds after which a command that the browser has not answered is answered
        with an error. Servers give up after 30.
      max_answer_size: bytes; a larger answer becomes an error that says so. Servers take 10 MB.
      ping_interval: seconds between pings to the server.
      ping_timeout: seconds without an answer to one after which the connection counts as lost.
      close_timeout: seconds that saying goodbye may take.
      ssl_context: for ``https`` servers and ``wss`` browsers, instead of the usual one.
      connect: makes TCP connections, as ``await connect(host, port)``: a way through a proxy, or
        into a test's memory.

    Raises:
      ConfigurationError: a value that cannot work.
    """
    settings = TunnelSettings(
        reconnect=reconnect,
        connect_timeout=connect_timeout,
        command_timeout=command_timeout,
        max_answer_size=max_answer_size,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        close_timeout=close_timeout,
        connect=connect,
    )
    shown = _shown_browser(cdp_url)
    server = TunnelEndpoint(mix, session_id, token, ssl_context)
    return Tunnel(server, session_id, cdp_url, shown, settings, ssl_context)


@final
class Tunnel:
    """A supervised connection between a browser's DevTools and a session of a Mix server.

    Made by `open_tunnel`; use it as an async context manager. All its tasks live in a nursery of
    its own that the ``async with`` closes; the caller's exceptions pass through it unwrapped. What
    ends the tunnel for good does not interrupt the body: `wait_closed` raises it, else leaving.
    """

    def __init__(
        self,
        server: TunnelEndpoint,
        session_id: str,
        cdp_url: str,
        shown_browser: str,
        settings: TunnelSettings,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        self._server = server
        self._session_id = session_id
        self._cdp_url = cdp_url
        self._shown_browser = shown_browser
        self._settings = settings
        self._ssl_context = ssl_context
        self._supervisor = TunnelSupervisor(server, session_id, settings)
        self._manager = trio.open_nursery()
        self._nursery: trio.Nursery | None = None
        self._devtools: DevTools | None = None
        self._left = False

    def __repr__(self) -> str:
        return (
            f"<trio_mix.browser.Tunnel of session {self._session_id!r} to the browser at"
            f" {self._shown_browser} ({self.state.value})>"
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
    def state(self) -> StreamState:
        """What the tunnel is doing: connecting, connected, reconnecting, or closed."""
        return self._supervisor.state

    async def __aenter__(self) -> Self:
        """Connect to the browser, then to the server.

        Raises:
          BrowserGone: no browser answers at ``cdp_url``.
          TunnelRefused: the server does not want the tunnel, for the token's sake for instance.
          SessionNotFound: the server does not know the session.
          ConnectionFailed, RequestTimeout: the server did not answer within ``connect_timeout``.
          ConfigurationError: the token is empty, or a header cannot work.

        A checkpoint. Cancelled, it leaves nothing behind.
        """
        if self._nursery is not None or self._left:
            raise UsageError("A tunnel can be entered once: call open_tunnel() again.")
        self._nursery = await self._manager.__aenter__()
        try:
            self._devtools = await self._open_browser(self._nursery)
            self._nursery.start_soon(self._supervisor.run, self._devtools, self._nursery)
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
        """Close both connections and end all tasks; raises what has ended the tunnel (rule 4)."""
        await self._close(exc)
        if exc is None and self._supervisor.failure is not None and not self._supervisor.told:
            raise self._supervisor.failure

    async def wait_connected(self) -> None:
        """Wait until the tunnel is connected to the server; returns at once if it is.

        Raises:
          StreamClosed: it was left.
          BrowserGone, TunnelRefused, SessionNotFound, ReconnectFailed: what has ended it.

        A checkpoint. Cancelling it does nothing to the tunnel.
        """
        await self._supervisor.wait_connected()

    async def wait_closed(self) -> NoReturn:
        """Wait until the tunnel has ended for good, and raise why: all that a service has to do.

        Raises:
          BrowserGone: the browser has ended, or its connection was lost.
          ReconnectFailed: the server was lost, and the policy's time to get it back ran out.
          TunnelRefused, SessionNotFound: the server did not want it back.
          StreamClosed: it was left.

        Cancelling it does nothing to the tunnel.
        """
        await self._supervisor.wait_closed()

    async def log(self, **fields: object) -> bool:
        """Send the server a line of log (``browser_log``), which nobody answers.

        Args:
          fields: what it says, as JSON values; servers know ``level`` and ``message``.

        Returns:
          Whether it was sent, which it is not without a connection, nor when over the limit.

        Raises:
          ConfigurationError: a field that is not JSON.

        A checkpoint. Cancelled in the middle of a large one, the connection is made anew.
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
        except WebSocketLost:
            return False
        return True

    def statistics(self) -> TunnelStatistics:
        """Return a snapshot of the tunnel's inner life."""
        supervisor, devtools = self._supervisor, self._devtools
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
            events=0 if devtools is None else devtools.events,
        )

    # Opening

    async def _open_browser(self, nursery: trio.Nursery) -> DevTools:
        limit = self._settings.connect_timeout
        url = await devtools_url(self._cdp_url, self._shown_browser, limit)
        target = Target.parse(http_form(url))
        devtools = DevTools(
            address_of(target, target.path.decode("ascii"), self._ssl_context, {}),
            shown=self._shown_browser,
            connect=self._settings.connect,
            patience=self._settings.command_timeout,
        )
        try:
            await open_devtools(devtools, nursery, limit)
        except BaseException:
            await devtools.aclose(self._settings.close_timeout)
            raise
        return devtools

    async def _close(self, leaving: BaseException | None) -> None:  # noqa: ASYNC910 - leaving the nursery is one
        """End the nursery without wrapping what is under way (rules 4 and 5)."""
        if self._left:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._left = True
        assert self._nursery is not None  # noqa: S101 - entered before anything can be closed
        # Shielded, so that an outer cancellation is not collected from every task on the way out.
        self._nursery.cancel_scope.shield = True
        self._nursery.cancel_scope.cancel(reason="the tunnel is being left")
        if self._devtools is not None:
            await self._devtools.aclose(self._settings.close_timeout)
        try:
            await self._manager.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            for urgent in (KeyboardInterrupt, SystemExit):
                if (found := _first(group, urgent)) is not None:
                    raise found from leaving
            defect = _first(group, Exception)
            if defect is not None and (leaving is None or isinstance(leaving, trio.Cancelled)):
                raise defect from leaving
        finally:
            self._supervisor.change(StreamState.CLOSED)


def _shown_browser(cdp_url: str) -> str:
    """Return the origin of a browser's address; the rest of it may be a key to the browser.

    Raises:
      ConfigurationError: it is no address.
    """
    scheme = cdp_url.partition("://")[0].lower()
    if scheme not in ("ws", "wss", "http", "https"):
        raise ConfigurationError(
            f"open_tunnel(cdp_url=…): an address of a browser's DevTools begins with ws:// or"
            f" http://, not with {scheme[:10]!r}."
        )
    try:
        target = Target.parse(http_form(cdp_url))
    except ConfigurationError:
        raise ConfigurationError("open_tunnel(cdp_url=…): that is no URL.") from None
    return f"{scheme}://{target.authority.decode('ascii')}"


def _first(group: BaseExceptionGroup, kind: type[BaseException]) -> BaseException | None:
    """Return the first exception of a kind in a group, however deep."""
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            found = _first(exc, kind)
            if found is not None:
                return found
        elif isinstance(exc, kind):
            return exc
    return None
