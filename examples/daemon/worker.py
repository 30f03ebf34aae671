"""Run jobs in several workers, each with a session whose stream is already open.

Rules:

1. Every job has a session of its own, and a ticket that is on the disk before the prompt is sent.
2. A job that is known not to have finished is sent again, at most ``tries`` times. A job that may
   have run, without proof, is not sent again: it ends in ``doubt``.
3. When the daemon stops, a running job is finished within ``grace`` seconds, or parked: its turn is
   cancelled on the server, and the next start sends it again.
4. What goes wrong with one job is one line in the log, and its end in ``failed`` or ``doubt``. The
   other jobs go on.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix import ReconnectPolicy, RequestOptions, RetryConfig, StreamState
from trio_mix.errors import (
    MessageInterrupted,
    MessageRejected,
    SessionNotFound,
    StreamError,
    TransportError,
    TrioMixError,
)

from .spool import Job, Result, Spool
from .trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix import Mix, SessionStream, Ticket

__all__ = ["Settings", "Workers"]

_log = logging.getLogger("daemon")
_FOREVER = ReconnectPolicy(max_elapsed_time=None)
# The workers retry by themselves, and log it.
_ONCE = RequestOptions(retries=RetryConfig(strategy="none"), timeout=10)
_LONGEST_PAUSE = 30.0


@attrs.frozen(kw_only=True)
class Settings:
    """The options of the workers; times are in seconds."""

    workers: int = 2
    grace: float = 20.0
    settle: float = 60.0
    poll: float = 0.5
    tries: int = 3
    grant: bool = False


@attrs.define
class Workers:
    """All workers, their streams and their jobs."""

    mix: Mix
    spool: Spool
    settings: Settings
    unfinished: list[Job]
    streams: dict[int, SessionStream] = attrs.field(factory=dict, init=False)
    jobs: dict[int, str] = attrs.field(factory=dict, init=False)
    ended: Counter[Result] = attrs.field(factory=Counter, init=False)
    draining: trio.Event = attrs.field(factory=trio.Event, init=False)
    _scopes: dict[int, trio.CancelScope] = attrs.field(factory=dict, init=False)
    _trouble: Trouble = attrs.field(
        factory=lambda: Trouble("workers are trying again", "all workers run jobs again"),
        init=False,
    )

    def drain(self, grace: float) -> None:
        """Take no more jobs; cancel the running ones after ``grace`` seconds."""
        self.draining.set()
        for number, scope in self._scopes.items():
            allowed = grace if number in self.jobs else 0
            scope.deadline = min(scope.deadline, trio.current_time() + allowed)

    async def work(self, number: int) -> None:
        """Run jobs until `drain` is called."""
        pause = self.settings.poll
        while not self.draining.is_set():
            with trio.CancelScope() as self._scopes[number]:
                try:
                    await self._one_job(number)
                    pause = self.settings.poll
                    self._trouble.end(str(number))
                except (TrioMixError, OSError) as error:
                    gone = isinstance(error, SessionNotFound)
                    reason = "the server no longer has its session" if gone else error
                    self._trouble.begin(str(number), reason)
                    await self._pause(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)

    async def _one_job(self, number: int) -> None:
        job = self.unfinished.pop(0) if self.unfinished else None
        session_id, keep = "", False
        try:
            session_id = job.session if job is not None else ""
            session_id = session_id or await self._new_session(f"Daemon, worker {number}")
            async with self.mix.open_stream(
                session_id,
                reconnect=_FOREVER,
                settle_timeout=self.settings.settle,
                on_permission=self._decide,
            ) as session:
                self.streams[number] = session
                job = job or await self._next_job(session)
                if job is not None:
                    self.jobs[number] = job.name
                    running, job, keep = job, None, True  # unless the job ends here
                    keep = await self._run(running, session)
        except SessionNotFound:
            if job is None or not job.session:
                raise
            await self._finish(job, Result.DOUBT, error="its session is gone")
            job = None
        finally:
            if job is not None:
                self.unfinished.append(job)  # its outcome is still not known
                keep = True
            self.streams.pop(number, None)
            self.jobs.pop(number, None)
            if session_id and not keep:
                await self._delete(session_id)

    async def _next_job(self, session: SessionStream) -> Job | None:
        """Return the next job, or None after `drain`. Jobs are only taken while connected."""
        while not self.draining.is_set():
            if session.state is not StreamState.CONNECTED:
                await session.wait_connected()  # raises if the stream has ended
            if self.unfinished:
                return None  # it may have a session already
            job = await trio.to_thread.run_sync(self.spool.take)
            if job is not None:
                return job
            await self._pause(self.settings.poll)
        return None

    async def _run(self, job: Job, session: SessionStream) -> bool:
        """Run a job, and return whether its session has to be kept."""
        keep = False
        if not job.error:
            try:
                return await self._send(job, session)
            except OSError as error:  # its note, or its answer, cannot be written
                job, keep = attrs.evolve(job, error=str(error)), True
        await self._finish(job, Result.FAILED, error=job.error)
        return keep

    async def _send(self, job: Job, session: SessionStream) -> bool:
        async def save(ticket: Ticket) -> None:
            await self._write(partial(self.spool.note, attrs.evolve(job, ticket=ticket)))

        ticket = job.ticket
        if ticket is None:
            try:
                ticket = await session.prepare(job.prompt)
            except MessageRejected as error:
                await self._finish(job, Result.FAILED, error=str(error))
                return False
            except TrioMixError:
                self.unfinished.append(job)
                raise
            job = attrs.evolve(job, ticket=ticket, tries=job.tries + 1)
            await save(ticket)  # rule 1
        doing = "sending" if ticket.state == "prepared" else "resuming"
        _log.info("job %s: %s it in session %s", job, doing, job.session)
        message = session.resume(ticket, save=save)
        try:
            async with message:
                reply = await message.wait()
        except trio.Cancelled:
            _log.info("job %s: parked, to be resumed by the next start", job)
            raise
        except (MessageInterrupted, StreamError, TransportError) as error:
            newest = message.ticket
            unsent = newest is not None and newest.state == "prepared"
            gone = isinstance(error, MessageInterrupted) and error.outcome != "unknown"
            if not (unsent or gone):
                reason = f"it was sent, and may have run: {error}"
                await self._finish(job, Result.DOUBT, error=reason)
                return True
            await self._again(job, error)
        except TrioMixError as error:  # the agent gave up, or the server refused the prompt
            await self._finish(job, Result.FAILED, error=str(error))
        else:
            tools = [call.name for call in reply.tool_calls]
            await self._finish(
                job, Result.DONE, text=reply.text, tools=tools, recovered=reply.recovered
            )
        return False

    async def _again(self, job: Job, error: TrioMixError) -> None:
        if job.tries >= self.settings.tries:
            await self._finish(job, Result.FAILED, error=f"given up after {job.tries}: {error}")
            return
        _log.warning("job %s: will be sent again: %s", job, error)
        job = attrs.evolve(job, ticket=None)
        await self._write(partial(self.spool.note, job))
        self.unfinished.append(job)

    async def _finish(self, job: Job, result: Result, **more: object) -> None:
        """Write a job's result, and log it in one line."""
        await self._write(partial(self.spool.finish, job, result, **more))
        self.ended[result] += 1
        error = " ".join(str(more.get("error", "")).split())
        _log.info("job %s: %s%s", job, result, error and f": {error}")

    async def _new_session(self, title: str) -> str:
        # Shielded: after a cancellation nothing would know the id of the new session.
        with trio.fail_after(60, shield=True):
            return (await self.mix.sessions.create(title=title, options=_ONCE)).id

    async def _write(self, step: Callable[[], None]) -> None:
        """Write to the spool in a thread, completely even if cancelled."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(step)

    async def _delete(self, session: str) -> None:
        ignored = suppress(TrioMixError)  # a session that remains does no harm
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2), ignored:
            await self.mix.sessions.delete(id=session, options=_ONCE)

    async def _pause(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.draining.wait()

    async def _decide(self, *_: object) -> bool:
        return self.settings.grant
