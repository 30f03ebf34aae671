"""Run the web relay: arguments, signals and tasks."""

import argparse
import signal
import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from trio_mix import Mix, ReconnectPolicy, RequestOptions, RetryConfig
from trio_mix.errors import TrioMixError
from trio_mix.testing import MixServer

from .history import History
from .relay import Relay, state_hooks
from .web import make_app

if TYPE_CHECKING:
    from hypercorn.typing import Framework

FOREVER = ReconnectPolicy(max_elapsed_time=None)
ONCE = RequestOptions(retries=RetryConfig(strategy="none"))


async def run(args: argparse.Namespace, server: str | None) -> None:
    """Serve the page until a signal arrives."""
    history = History(args.history)
    config = Config()
    config.bind = [f"{args.host}:{args.port}"]
    config.graceful_timeout = 1  # the tabs' streams never end by themselves
    config.loglevel = "WARNING"
    async with Mix(server, hooks=state_hooks(history)) as mix:
        await mix.sessions.list(options=ONCE)  # fails at once if there is no server
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with (
                mix.open_session(title="Web", reconnect=FOREVER) as session,
                trio.open_nursery() as nursery,
            ):
                app = make_app(Relay(session, history, nursery), history, [args.host, *args.allow])
                stopping = trio.Event()
                async with trio.open_nursery() as web:
                    framework = cast("Framework", app)  # both are ASGI, typed differently
                    start = partial(serve, framework, config, shutdown_trigger=stopping.wait)
                    (url,) = await web.start(start)
                    print(f"open {url} in a browser; Ctrl-C stops", flush=True)
                    async for _ in signals:
                        break
                    stopping.set()
                nursery.cancel_scope.cancel(reason="the web server has stopped")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.web_relay", description="Show a session live in the browser."
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the address to bind (default: %(default)s)")
    add("--port", type=int, default=8090, help="the port; 0: any (default: %(default)s)")
    add(
        "--allow",
        action="append",
        default=["localhost"],
        metavar="HOST",
        help="another host name under which browsers may open the page",
    )
    add(
        "--history",
        type=int,
        default=2000,
        metavar="EVENTS",
        help="how many events are kept for reconnecting tabs (default: %(default)s)",
    )
    add("--demo", action="store_true", help="use the bundled server")
    return parser.parse_args()


async def main() -> None:
    """Run the relay; print an error as one line."""
    args = parse()
    try:
        async with MixServer(listen=args.demo) as server:
            await run(args, server.url if args.demo else None)
    except* (TrioMixError, OSError) as errors:
        sys.exit(str(next(_leaves(errors))))


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        yield from _leaves(error) if isinstance(error, BaseExceptionGroup) else (error,)


if __name__ == "__main__":
    trio.run(main)
