"""Use trio_mix from asyncio: Trio runs as a guest in asyncio's own loop, in the same thread.

python examples/guest_mode.py --demo    with the bundled server, in this process
python examples/guest_mode.py           with the server at MIX_SERVER_URL, or port 8088

`Guest` is a bridge for any asyncio program: a web framework, a bot, a notebook
(guest_notebook.ipynb). Exceptions come out unchanged. Cancelling the asyncio side cancels the Trio
side and waits until that has cleaned up, so that the turn is cancelled on the server. When the
block of `Guest` is left, no Trio task is left.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

import trio

from trio_mix import Mix, RetryConfig, SessionStream
from trio_mix.errors import TrioMixError
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from outcome import Outcome

P = ParamSpec("P")
T = TypeVar("T")


class Guest:
    """Runs Trio inside the running asyncio loop, for the length of an ``async with``."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._over: asyncio.Future[Outcome[None]] = loop.create_future()
        self._ready: asyncio.Future[trio.Nursery] = loop.create_future()
        trio.lowlevel.start_guest_run(
            self._run_guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=loop.call_soon,
            done_callback=self._over.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        self._token = trio.lowlevel.current_trio_token()
        try:
            await until_done(self._ready)
        except asyncio.CancelledError:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._token.run_sync_soon(self._ready.result().cancel_scope.cancel)
        await until_done(self._over)
        self._over.result().unwrap()

    async def run(
        self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Await a Trio function from asyncio; a cancellation is passed on and waits for its end."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        scope = trio.CancelScope()

        async def work() -> None:
            try:
                with scope:
                    done.set_result(await function(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - every error is raised in the caller
                done.set_exception(error)
            finally:
                if not done.done():
                    done.cancel()

        self._token.run_sync_soon(self._ready.result().start_soon, work)
        await until_done(done, on_cancel=lambda: self._token.run_sync_soon(scope.cancel))
        return done.result()

    @asynccontextmanager
    async def enter(self, manager: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        """Hold a Trio context manager open: one Trio task enters and leaves it."""
        entered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        leave = trio.Event()

        async def hold() -> None:
            async with manager as value:
                entered.set_result(value)
                await leave.wait()

        holder = asyncio.create_task(self.run(hold))
        try:
            first: list[asyncio.Future[Any]] = [entered, holder]
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            holder.cancel()
            await until_done(holder)
            raise
        if not entered.done():
            await holder  # it could not be entered: this raises the reason
        try:
            yield entered.result()
        finally:
            self._token.run_sync_soon(leave.set)
            await until_done(holder)
            holder.result()

    async def _run_guest(self) -> None:
        async with trio.open_nursery() as nursery:
            self._ready.set_result(nursery)
            await trio.sleep_forever()


async def until_done(
    future: asyncio.Future[T], on_cancel: Callable[[], object] = lambda: None
) -> None:
    """Wait until a future is done, even if cancelled meanwhile; then raise the cancellation."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
            on_cancel()
    if cancelled is not None:
        if not future.cancelled():
            future.exception()  # retrieved, so that asyncio does not warn
        raise cancelled


async def talk(guest: Guest, session: SessionStream) -> None:
    """Use asyncio as usual: await, gather, time out."""
    reply = await guest.run(session.ask, "Hello")
    print(reply.text)

    async def in_pieces(text: str) -> None:  # code with `async for` runs on Trio's side
        async with session.send(text) as message:
            async for piece in message.text_deltas():
                print(piece, end="", flush=True)
        print()

    await guest.run(in_pieces, "List the files here")

    both = await asyncio.gather(
        guest.run(session.ask, "Say it in one word"), guest.run(session.ask, "Hello again")
    )
    print([reply.text for reply in both])

    try:
        async with asyncio.timeout(1):
            # A story takes longer than that; the timeout cancels the turn on the server.
            await guest.run(session.ask, "Tell me a story")
    except TimeoutError:
        print("It took too long, and was cancelled.")


async def main() -> None:
    async with Guest() as guest, AsyncExitStack() as stack:
        url = None
        if "--demo" in sys.argv:
            url = (await stack.enter_async_context(guest.enter(MixServer()))).url
        once = RetryConfig(strategy="none")  # a person can try again
        mix = await stack.enter_async_context(guest.enter(Mix(url, retries=once)))
        session = guest.enter(mix.open_session(title="Guest"))
        await talk(guest, await stack.enter_async_context(session))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except TrioMixError as error:
        sys.exit(str(error))
