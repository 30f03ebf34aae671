"""The workers: each has a session with an open stream at hand, and gives it to the next job.

What it knows: jobs, sessions, what each end of a message means for its job. What it must never
know: signals, HTTP, how files are written.

Rules:

1. Every job has a session of its own, whose id is on the disk before the prompt is sent.
2. What has surely not run to its end, and will not, is sent again, at most ``tries`` times. What
   may have run, and nobody can tell, is not: it ends in ``doubt``.
3. A job whose daemon stops is finished within ``grace`` seconds, or parked: the server is told to
   stop, and the next start sends it again.
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
    SessionNotFound,
    StreamError,
    TransportError,
    TrioMixError,
)

from .aftermath import Doubt, Finished, NotRun, answer_of, look
from .spool import Job, Result, Spool, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix import Mix, SessionStream

__all__ = ["Crew", "Settings"]

_log = logging.getLogger("daemon")
_FOR_EVER = ReconnectPolicy(max_elapsed_time=None)  # a daemon outlives any outage
# The workers try again themselves, and say so.
_ONCE = RequestOptions(retries=RetryConfig(strategy="none"), timeout=10)
_LONGEST_PAUSE = 30.0


@attrs.frozen(kw_only=True)
class Settings:
    """How the workers work; times are in seconds."""

    workers: int = 2
    grace: float = 20.0
    settle: float = 60.0
    poll: float = 0.5
    tries: int = 3
    grant: bool = False


@attrs.define
class Crew:
    """All workers, and what is known of them."""

    mix: Mix
    spool: Spool
    settings: Settings
    unfinished: list[Job]
    streams: dict[int, SessionStream] = attrs.field(factory=dict, init=False)
    jobs: dict[int, str] = attrs.field(factory=dict, init=False)
    ended: Counter[Result] = attrs.field(factory=Counter, init=False)
    draining: trio.Event = attrs.field(factory=trio.Event, init=False)
    _scopes: dict[int, trio.CancelScope] = attrs.field(factory=dict, init=False)

    def drain(self, grace: float) -> None:
        """Take no more jobs, and give those that run so many seconds."""
        self.draining.set()
        for number, scope in self._scopes.items():
            allowed = grace if number in self.jobs else 0
            scope.deadline = min(scope.deadline, trio.current_time() + allowed)

    async def work(self, number: int) -> None:
        """Be a worker until the crew is drained."""
        pause = self.settings.poll
        while not self.draining.is_set():
            with trio.CancelScope() as self._scopes[number]:
                try:
                    await self._one_job(number)
                    pause = self.settings.poll
                except TrioMixError as error:
                    forgot = isinstance(error, SessionNotFound)
                    why = "the server has forgotten its session" if forgot else error
                    _log.warning("worker %d, trying again in %g s: %s", number, pause, why)
                    await self._pause(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)

    async def _one_job(self, number: int) -> None:
        session = await self._new_session(f"Daemon, worker {number}")
        keep = False
        try:
            async with self.mix.open_stream(
                session,
                reconnect=_FOR_EVER,
                settle_timeout=self.settings.settle,
                on_permission=self._decide,
            ) as stream:
                self.streams[number] = stream
                job = await self._next_job(stream)
                if job is not None:
                    self.jobs[number] = job.name
                    if await self._was_done_before(job):
                        return
                    keep = True  # unless it ends here, the next start has to look at it
                    keep = await self._do(job, stream)
        finally:
            self.streams.pop(number, None)
            self.jobs.pop(number, None)
            if not keep:
                await self._delete(session)

    async def _next_job(self, stream: SessionStream) -> Job | None:
        """Wait for a job; None when the crew is drained. Jobs are only taken while connected."""
        while not self.draining.is_set():
            if stream.state is not StreamState.CONNECTED:
                await stream.wait_connected()  # raises why, if it is over for good
            if self.unfinished:
                return self.unfinished.pop(0)
            job = await trio.to_thread.run_sync(self.spool.take)
            if job is not None:
                return job
            await self._pause(self.settings.poll)
        return None

    async def _do(self, job: Job, stream: SessionStream) -> bool:
        """Do a job, and return whether its session has to stay for somebody to look at."""
        job = attrs.evolve(job, state=State.SENT, session=stream.session_id, tries=job.tries + 1)
        await self._write(partial(self.spool.note, job))  # rule 1
        running = False
        _log.info("job %s: sending it to session %s", job.name, job.session)
        try:
            async with stream.send(job.prompt) as message:
                running = True
                reply = await message.wait()
        except trio.Cancelled:
            _log.info("job %s: parked, to be sent again by the next start", job.name)
            await self._write(partial(self.spool.note, attrs.evolve(job, state=State.PARKED)))
            raise
        except (MessageInterrupted, StreamError, TransportError) as error:
            if isinstance(error, MessageInterrupted):
                known = error.outcome != "unknown"
            else:
                known = not running
            if not known:
                why = f"it was sent, and nobody can tell whether it ran: {error}"
                await self._finish(job, Result.DOUBT, error=why)
                return True
            await self._again(job, error)
        except TrioMixError as error:  # the agent gave it up, or the server refused it
            await self._finish(job, Result.FAILED, error=str(error))
        else:
            tools = [call.name for call in reply.tool_calls]
            await self._finish(
                job, Result.DONE, text=reply.text, tools=tools, recovered=reply.recovered
            )
        return False

    async def _was_done_before(self, job: Job) -> bool:
        """Find out what became of a job that an earlier process had sent."""
        try:
            return await self._look_back(job)
        except TrioMixError:
            self.unfinished.append(job)  # nothing became known of it
            raise

    async def _look_back(self, job: Job) -> bool:
        fate: Finished | NotRun | Doubt | None = None
        if job.state is State.SENT:
            _log.info("job %s: was sent before a kill; looking at what became of it", job.name)
            settle = self.settings.settle
            fate = await look(self.mix, job.session, job.prompt, settle=settle, reconnect=_FOR_EVER)
        elif job.state is State.PARKED:
            fate = await answer_of(self.mix, job.session, job.prompt)
        match fate:
            case Finished(text, tools):
                await self._finish(job, Result.DONE, text=text, tools=tools, recovered=True)
            case Doubt() if job.state is State.PARKED:
                return False  # its session is another's: it stays
            case Doubt(why):
                await self._finish(job, Result.DOUBT, error=why)
                return True
        if job.session:
            await self._delete(job.session)
        return isinstance(fate, Finished)

    async def _again(self, job: Job, error: TrioMixError) -> None:
        if job.tries >= self.settings.tries:
            await self._finish(job, Result.FAILED, error=f"given up after {job.tries}: {error}")
            return
        _log.warning("job %s: will be sent again: %s", job.name, error)
        job = attrs.evolve(job, state=State.CLAIMED, session="")
        await self._write(partial(self.spool.note, job))
        self.unfinished.append(job)

    async def _finish(self, job: Job, result: Result, **more: object) -> None:
        await self._write(partial(self.spool.finish, job, result, **more))
        self.ended[result] += 1
        _log.info("job %s: %s%s", job.name, result, f": {more['error']}" if "error" in more else "")

    async def _new_session(self, title: str) -> str:
        # Not interrupted, or there would be one that nobody knows to delete.
        with trio.fail_after(60, shield=True):
            return (await self.mix.sessions.create(title=title, options=_ONCE)).id

    async def _write(self, step: Callable[[], None]) -> None:
        """Write to the spool: in a thread, and whole, even if cancelled."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(step)

    async def _delete(self, session: str) -> None:
        no_harm = suppress(TrioMixError)  # is done by a session that stays
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2), no_harm:
            await self.mix.sessions.delete(id=session, options=_ONCE)

    async def _pause(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.draining.wait()

    async def _decide(self, *_: object) -> bool:
        return self.settings.grant
