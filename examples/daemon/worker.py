"""Run jobs in several workers, each with a session whose stream is already open.

Rules:

1. Every job has a session of its own, whose id is on the disk before the prompt is sent.
2. A job that is known not to have finished is sent again, at most ``tries`` times. A job that may
   have run, without proof, is not sent again: it ends in ``doubt``.
3. When the daemon stops, a running job is finished within ``grace`` seconds, or parked: its turn is
   cancelled on the server, and the next start sends it again.
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

from .lookup import Finished, NotRun, Unknown, find_answer, find_outcome
from .spool import Job, Result, Spool, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix import Mix, SessionStream

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
                except TrioMixError as error:
                    gone = isinstance(error, SessionNotFound)
                    reason = "the server no longer has its session" if gone else error
                    _log.warning("worker %d: trying again in %g s: %s", number, pause, reason)
                    await self._pause(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)

    async def _one_job(self, number: int) -> None:
        session_id = await self._new_session(f"Daemon, worker {number}")
        keep = False
        try:
            async with self.mix.open_stream(
                session_id,
                reconnect=_FOREVER,
                settle_timeout=self.settings.settle,
                on_permission=self._decide,
            ) as session:
                self.streams[number] = session
                job = await self._next_job(session)
                if job is not None:
                    self.jobs[number] = job.name
                    if await self._has_ended(job):
                        return
                    keep = True  # unless the job ends here, the next start needs the session
                    keep = await self._run(job, session)
        finally:
            self.streams.pop(number, None)
            self.jobs.pop(number, None)
            if not keep:
                await self._delete(session_id)

    async def _next_job(self, session: SessionStream) -> Job | None:
        """Return the next job, or None after `drain`. Jobs are only taken while connected."""
        while not self.draining.is_set():
            if session.state is not StreamState.CONNECTED:
                await session.wait_connected()  # raises if the stream has ended
            if self.unfinished:
                return self.unfinished.pop(0)
            job = await trio.to_thread.run_sync(self.spool.take)
            if job is not None:
                return job
            await self._pause(self.settings.poll)
        return None

    async def _run(self, job: Job, session: SessionStream) -> bool:
        """Run a job, and return whether its session has to be kept."""
        job = attrs.evolve(job, state=State.SENT, session=session.session_id, tries=job.tries + 1)
        await self._write(partial(self.spool.note, job))  # rule 1
        accepted = False
        _log.info("job %s: sending it to session %s", job.name, job.session)
        try:
            async with session.send(job.prompt) as message:
                accepted = True
                reply = await message.wait()
        except trio.Cancelled:
            _log.info("job %s: parked, to be sent again by the next start", job.name)
            await self._write(partial(self.spool.note, attrs.evolve(job, state=State.PARKED)))
            raise
        except (MessageInterrupted, StreamError, TransportError) as error:
            if isinstance(error, MessageInterrupted):
                known = error.outcome != "unknown"
            else:
                known = not accepted
            if not known:
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

    async def _has_ended(self, job: Job) -> bool:
        """Return whether a job that an earlier process had sent needs no further work."""
        try:
            return await self._find_outcome(job)
        except TrioMixError:
            self.unfinished.append(job)  # its outcome is still not known
            raise

    async def _find_outcome(self, job: Job) -> bool:
        outcome: Finished | NotRun | Unknown | None = None
        if job.state is State.SENT:
            _log.info("job %s: was sent before a kill; reading its outcome", job.name)
            settle = self.settings.settle
            outcome = await find_outcome(
                self.mix, job.session, job.prompt, settle=settle, reconnect=_FOREVER
            )
        elif job.state is State.PARKED:
            outcome = await find_answer(self.mix, job.session, job.prompt)
        match outcome:
            case Finished(text, tools):
                await self._finish(job, Result.DONE, text=text, tools=tools, recovered=True)
            case Unknown() if job.state is State.PARKED:
                return False  # its session belongs to another prompt: keep it
            case Unknown(reason):
                await self._finish(job, Result.DOUBT, error=reason)
                return True
        if job.session:
            await self._delete(job.session)
        return isinstance(outcome, Finished)

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
