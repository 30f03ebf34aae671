"""`MixServer`: the bundled Mix server.

Rules:

1. It binds loopback unless another address is given, and opens no socket with ``listen=False``.
2. Stopping closes every connection and ends every turn, as the end of a process does. Stored
   sessions stay, unless ``restart(keep_sessions=False)`` deletes them.
3. The first exception inside the server is raised when the server is left, in no group.
"""

from __future__ import annotations

import os  # noqa: TC003 - for typing.get_type_hints
from typing import TYPE_CHECKING, Literal, Self

import trio

from trio_mix._usage import AsyncScope
from trio_mix.errors import ConfigurationError
from trio_mix.testing._log import MAX_LOG_BYTES, Log, Match, Observed
from trio_mix.testing._timeline import deviations_text
from trio_mix.testing.net._guard import RequestGuard
from trio_mix.testing.net._listener import check_port
from trio_mix.testing.net._memory import MemoryNetwork
from trio_mix.testing.server._agent import TurnRun
from trio_mix.testing.server._backend import Backend, CannedResponse, ServerSettings
from trio_mix.testing.server._frames import ServerEvent
from trio_mix.testing.server._process import ServerProcess
from trio_mix.testing.server._providers import Accounts
from trio_mix.testing.server._state_file import StateFile
from trio_mix.testing.server._traits import Api, traits_for
from trio_mix.testing.server._tunnel import BrowserTunnels  # noqa: TC001 - for typing.get_type_hints

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from types import TracebackType

    from trio_mix.testing.server._script import How, Turn


class MixServer(Observed, AsyncScope):
    """A Mix-compatible server in this process, with the quirks of real servers.

    Use it as ``async with MixServer() as server``. It serves HTTP/1.1 on a loopback socket at
    `url`, and in memory through `network`.

    Args:
      api: the generation: ``"async"``, ``"blocking"``, ``"pipeline"`` or ``"pipeline-oldest"``.
      version: a version of that generation, for example ``"0.6.4"``; None: its default version.
      host: the address to bind.
      port: the port to bind; 0: any free port.
      listen: whether to open a socket.
      replay: whether ids continue over connections and a stream with ``Last-Event-ID`` receives the
        events after it, as the specification promises and no real server does.
      restart_ids: whether ids start at 1 on each connection; None: yes, unless ``replay``.
      connected_id: whether the ``connected`` frame has an id if ids continue over connections.
      heartbeat_interval: seconds between heartbeats; None: no heartbeats, and idle streams do not
        end.
      max_connection_age: seconds after which a stream is ended; None: never.
      cancel_endpoint: whether the cancel endpoint exists.
      cancel_answer: its response: ``"status"`` as real servers, ``"spec"`` as the specification.
      cancel_latency: seconds from the response to a cancel request to the end of the turn; real
        servers take 0.02 to 0.5.
      cancelled_tool: how a turn ends that is cancelled while a tool runs: with the usual ``error``,
        with an error ``"context"`` canceled, or with a ``"complete"`` that has the text before the
        tool. None: ``"error"`` on pipeline servers, ``"context"`` on later ones.
      error_delay: seconds between an error and its second copy, on async servers.
      unknown_session: ``"stream"``: 200 and an ``error`` event, as real servers;
        ``"404"``: as the specification.
      permission_timeout: seconds after which an unanswered permission request counts as denied.
      slow_reader_limit: how many events are queued for a slow reader before further ones are
        dropped; None: no limit.
      jsonrpc: whether an oldest pipeline server has JSON-RPC; without it, nothing that is stored
        can be read.
      double_events: whether each event is sent once for every running turn of its session, as real
        blocking and async servers do; None: on those, unless ``replay``.
      names_users: whether a stored user message is announced by ``user_message_created``; None: on
        async servers. Some blocking servers do that too, and name no answers before their ends.
      tool_results: whether stored tool calls have their results, as the specification allows and no
        real server does.
      usage: whether stored messages and the responses of blocking servers have tokens and cost, as
        the specification allows.
      row_lag: seconds by which the stored messages that are read are older than the events.
      cancel_on_disconnect: whether a turn is cancelled when the session's last stream ends, or when
        the client of a blocking send leaves, as older async servers do.
      provider_key: whether the server has a key for its model; without one, messages are refused.
      answer_delay: seconds by which the response to a send is delayed; events are not.
      rest_send: whether a pipeline server also has the blocking send.
      ghost_runs: whether a pipeline server's closed stream still runs the messages queued on it.
      stall_after: after how many undelivered tool events a pipeline session stays busy forever;
        None: never.
      strict: whether leaving the server raises an `AssertionError` if a message ran that no script
        matches, or a script was never used. The fixture ``mix_server`` is strict by default.
      pace: the factor for the default agent's pauses; 0: no pauses.
      max_upload: the largest request body in bytes; a larger one is answered with 413.
      plan_mode_text: the text that is appended to a message sent in plan mode.
      log_limit: how many records `log` keeps at least; None: all.
      log_bytes: about how many bytes the records in `log` may take, bodies included; beyond it the
        oldest are removed. None: any number.
      id_prefix: the beginning of the number in each id, so that consecutive servers at one address
        do not use the same ids.
      state: a file with the sessions, which are read when the server is entered and saved while it
        runs and when it is left, so that a later server has them: messages, files, callbacks; no
        keys. It has at most 64 MiB; beyond it the sessions that were changed longest ago are left
        out, and a warning is logged. One server at a time uses it. None: in memory only.
      allowed_hosts: ``Host`` names to serve, as well as ``host``, ``localhost`` and IP addresses.
        Requests with another name are refused with 403: a web page makes them by DNS rebinding.
      allowed_origins: origins of web pages whose requests are served, for example
        ``http://localhost:5173`` behind a development proxy. Other pages are refused with 403.

    Raises:
      ConfigurationError: the generation, version or port is unknown, or arguments contradict
        each other.
    """

    _entered_as = "async with MixServer(...) as server"

    def __init__(
        self,
        api: Api = "async",
        *,
        version: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        listen: bool = True,
        replay: bool = False,
        restart_ids: bool | None = None,
        connected_id: bool = True,
        heartbeat_interval: float | None = 45.0,
        max_connection_age: float | None = 600.0,
        cancel_endpoint: bool = True,
        cancel_answer: Literal["status", "spec"] = "status",
        cancel_latency: float = 0.05,
        cancelled_tool: Literal["error", "context", "complete"] | None = None,
        error_delay: float = 0.0,
        unknown_session: Literal["stream", "404"] = "stream",
        permission_timeout: float = 30.0,
        slow_reader_limit: int | None = 50,
        jsonrpc: bool = True,
        double_events: bool | None = None,
        names_users: bool | None = None,
        tool_results: bool = False,
        usage: bool = False,
        row_lag: float = 0.0,
        cancel_on_disconnect: bool = False,
        provider_key: bool = True,
        answer_delay: float = 0.0,
        rest_send: bool = True,
        ghost_runs: bool = True,
        stall_after: int | None = 64,
        strict: bool = False,
        pace: float = 1.0,
        max_upload: int = 64 * 2**20,
        plan_mode_text: str = "\n\n(Plan mode: do not change anything yet.)",
        log_limit: int | None = None,
        log_bytes: int | None = MAX_LOG_BYTES,
        id_prefix: str = "",
        state: str | os.PathLike[str] | None = None,
        allowed_hosts: Collection[str] = (),
        allowed_origins: Collection[str] = (),
    ) -> None:
        traits = traits_for(api, version, names_users=names_users)
        if replay and restart_ids:
            raise ConfigurationError(
                "replay=True needs ids that continue over connections: leave out restart_ids"
            )
        traits.check_replay(replay=replay)
        super().__init__(Log(log_limit, log_bytes))
        settings = ServerSettings(
            replay=replay,
            restart_ids=not replay if restart_ids is None else restart_ids,
            connected_id=connected_id,
            heartbeat_interval=heartbeat_interval,
            max_connection_age=max_connection_age,
            cancel_endpoint=cancel_endpoint,
            cancel_answer=cancel_answer,
            cancel_latency=cancel_latency,
            cancelled_tool=cancelled_tool,
            error_delay=error_delay,
            unknown_session=unknown_session,
            permission_timeout=permission_timeout,
            slow_reader_limit=slow_reader_limit,
            jsonrpc=jsonrpc,
            double_events=double_events,
            tool_results=tool_results,
            usage=usage,
            row_lag=row_lag,
            cancel_on_disconnect=cancel_on_disconnect,
            answer_delay=answer_delay,
            rest_send=rest_send,
            ghost_runs=ghost_runs,
            stall_after=stall_after,
            pace=pace,
            max_upload=max_upload,
            plan_mode_text=plan_mode_text,
            id_prefix=id_prefix,
        )
        accounts = Accounts({"anthropic": "api_key"} if provider_key else {})
        self._backend = Backend(settings, traits, self._log, accounts)
        self._strict = strict
        address = (host, check_port(port))
        self._process = ServerProcess(
            self._backend,
            RequestGuard(host, allowed_hosts, allowed_origins),
            address if listen else None,
            None if state is None else StateFile(state),
        )
        self.network: MemoryNetwork = MemoryNetwork(self._process.accept)

    @property
    def url(self) -> str:
        """The server's address, without a trailing slash; restarts keep it."""
        return self._process.url

    @property
    def in_memory(self) -> bool:
        """Whether it opens no socket and is reachable through `network` only."""
        return self._process.address is None

    @property
    def api(self) -> Api:
        """The generation."""
        return self._backend.traits.api

    @property
    def version(self) -> str:
        """The version that ``/health`` reports."""
        return self._backend.traits.version

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return len(self._backend.streams())

    @property
    def running_turns(self) -> int:
        """How many turns are running."""
        return sum(len(live.running) for live in self._backend.live.values())

    @property
    def connections(self) -> int:
        """How many connections of any kind are open."""
        return self._process.connections

    @property
    def browser_tunnels(self) -> BrowserTunnels:
        """The open browser tunnels by session id; tests send commands through them."""
        return self._backend.tunnels

    @property
    def deviations(self) -> Sequence[str]:
        """Messages that no script matched, and scripts that were never used, as texts."""
        return self._backend.deviations()

    @property
    def failures(self) -> Sequence[Exception]:
        """What handlers and scripted functions raised; leaving the server raises the first one."""
        return self._backend.failures

    # --- starting and stopping ------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start the server.

        Raises:
          ConfigurationError: the file of ``state`` is in use, broken, or of a newer version.
          OSError: the address cannot be bound, or the file of ``state`` cannot be read.
        """
        await self._process.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._process.close("the server was left", exc)
        if exc is None and self._backend.failures:
            raise self._backend.failures[0]
        if exc is None and self._strict and self.deviations:
            raise AssertionError(deviations_text(self.deviations, self.timeline))

    async def start(self) -> None:
        """Accept connections, at the same address as before.

        Waits for a `start`, `stop` or `restart` that is in progress in another task.

        Raises:
          UsageError: the server is running, or its ``async with`` was left.
          OSError: the address cannot be bound.
        """
        await self._process.start()

    async def stop(self, how: Literal["cut", "reset"] = "cut") -> None:
        """Stop as a killed process does: close all connections and end turns unfinished.

        Stopping a stopped server does nothing. Sessions and messages stay stored. Waits for a
        `start`, `stop` or `restart` that is in progress in another task.

        Raises:
          UsageError: a turn of this server (`Do`) called it and would wait for its own end.
        """
        await self._process.stop(how)

    async def restart(
        self,
        *,
        keep_sessions: bool = True,
        how: Literal["cut", "reset"] = "cut",
        api: Api | None = None,
        version: str | None = None,
    ) -> None:
        """Stop and start again at the same address, with or without the stored sessions.

        Args:
          keep_sessions: whether the stored sessions stay.
          how: how the connections end.
          api: the generation of the new server, as after an upgrade; None: the same.
          version: a version of that generation; None: its default version, or the same.

        Concurrent calls restart one after the other. Cancelled in between, the server stays
        stopped. Raises what `stop` and `start` raise.

        Raises:
          ConfigurationError: the generation or version is unknown, or contradicts ``replay``.
        """
        traits = self._backend.traits
        if api is not None or version is not None:
            traits = traits_for(traits.api if api is None else api, version)
        traits.check_replay(replay=self._backend.settings.replay)
        await self._process.restart(how, traits, keep_sessions=keep_sessions)

    # --- scripting ------------------------------------------------------------------------------

    def script(self, match: Match, *turns: Turn) -> None:
        """Set what the agent does for matching messages; others get the default agent.

        Args:
          match: the message's exact text, a compiled pattern to search for, or a function of the
            text. Later scripts take precedence.
          turns: the turn for the first matching message, the second, and so on; the last turn is
            used for all further messages.

        `assert_as_scripted` shows scripts that were never used, and messages that none matches.

        Raises:
          TypeError: a step was passed in place of a turn.
          ConfigurationError: there is no turn.
        """
        self._backend.add_script(match, turns)

    def create_session(self, title: str = "Test", *, session_id: str | None = None) -> str:
        """Create a session, also on servers without REST, and return its id."""
        return self._backend.create_session(title, session_id).row.id

    def stored(self, session_id: str) -> list[dict[str, object]]:
        """Return a session's stored messages as REST returns them, partial rows included."""
        return [row.as_json() for row in self._backend.session(session_id).row.rows]

    def run_message(self, session_id: str, text: str) -> None:
        """Run a message as if another client had sent it; all streams receive its events."""
        run = TurnRun(self._backend, self._backend.session(session_id), text)
        self._backend.spawn(run.run)

    def emit(self, session_id: str, name: str, data: Mapping[str, object]) -> None:
        """Send an event to the session's streams, outside any turn."""
        self._backend.publish(
            self._backend.session(session_id), ServerEvent(name, data, turn=False)
        )

    def answer_next(
        self,
        path: str,
        status: int,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        times: int = 1,
    ) -> None:
        """Answer the next requests whose path begins with ``path`` with a fixed response."""
        pairs = tuple((headers or {}).items())
        self._backend.canned.append(CannedResponse(path, status, pairs, body, times))

    # --- faults -----------------------------------------------------------------------------------

    def lose_events(self, name: str, times: int | None = None) -> None:
        """Drop the next events of this name, as real servers do for a slow reader.

        Args:
          name: the event's name, for example ``"user_message_created"``.
          times: how many events; None: all from now on.
        """
        self._backend.lost_events[name] = times

    async def drop_streams(self, session_id: str | None = None, how: How = "cut") -> int:
        """End the open streams of one session, or of all, and return how many there were.

        Returns once the server has closed them. Cancelled, it stops waiting; the streams still end.
        """
        await trio.lowlevel.checkpoint()
        lost = self._backend.streams(session_id)
        for stream in lost:
            stream.end(how)
        await self._log.wait_until(lambda: all(stream.closed for stream in lost))
        return len(lost)
