"""Run the daemon: arguments, signals and tasks."""

import argparse
import contextlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterable, Callable, Iterator
from pathlib import Path

import trio

from trio_mix import Mix
from trio_mix.testing import MixServer

from .health import Metrics, serve_health
from .spool import Spool
from .supervisor import keep_watchdog, notify
from .worker import Settings, Workers

_log = logging.getLogger("daemon")
_DEMO_JOBS = {"hello": "Hello", "files": "List the files here"}


async def handle_signals(signals: AsyncIterable[int], workers: Workers) -> None:
    """Stop after the running jobs at the first signal, and at once at the second."""
    grace = workers.settings.grace
    async for number in signals:
        name = signal.Signals(number).name
        _log.info("%s: stopping; %d jobs have %g s", name, len(workers.jobs), grace)
        notify("STOPPING=1")
        workers.drain(grace)
        grace = 0


async def serve(
    args: argparse.Namespace,
    spool: Spool,
    listeners: list[trio.SocketListener],
    server: str | None,
) -> None:
    """Run jobs until a signal arrives."""
    settings = Settings(
        workers=args.workers,
        grace=args.grace,
        settle=args.settle,
        tries=args.tries,
        grant=args.yes,
    )
    metrics = Metrics()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with Mix(server, hooks=metrics.hooks) as mix, trio.open_nursery() as nursery:
            workers = Workers(mix, spool, settings, spool.unfinished())
            nursery.start_soon(handle_signals, signals, workers)
            nursery.start_soon(keep_watchdog)
            nursery.start_soon(serve_health, workers, metrics, listeners, args.health[0])
            _log.info("put jobs into %s/inbox; answers are written to done", spool.folder)
            port = listeners[0].socket.getsockname()[1]
            _log.info("health at http://%s:%d/readyz", args.health[0], port)
            notify("READY=1")
            async with trio.open_nursery() as pool:
                for number in range(1, settings.workers + 1):
                    pool.start_soon(workers.work, number)
            nursery.cancel_scope.cancel(reason="all workers have stopped")
    _log.info("stopped")


@contextlib.contextmanager
def demo_folder() -> Iterator[Path]:
    """Create a temporary spool folder with two jobs."""
    with tempfile.TemporaryDirectory(prefix="daemon-demo-") as folder:
        inbox = Path(folder, "inbox")
        inbox.mkdir()
        for name, prompt in _DEMO_JOBS.items():
            (inbox / f"{name}.txt").write_text(prompt)
        yield Path(folder)


def at_least(kind: type[float], least: float) -> Callable[[str], float]:
    """Return a parser for an option's number that refuses values below ``least``."""

    def read(text: str) -> float:
        value = kind(text)
        if not value >= least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least:g}")
        return value

    read.__name__ = kind.__name__  # argparse prints this name in errors
    return read


def address(text: str) -> tuple[str, int]:
    """Read HOST:PORT."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host, int(port)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.daemon", description="Run jobs from a spool folder."
    )
    add = parser.add_argument
    add("spool", type=Path, nargs="?", help="the spool folder; created if it does not exist")
    add("--workers", type=at_least(int, 1), default=2, help="jobs at once (default: %(default)s)")
    add(
        "--grace",
        type=at_least(float, 0),
        default=20,
        metavar="SECONDS",
        help="seconds that a running job has after SIGTERM (default: %(default)s)",
    )
    add(
        "--settle",
        type=at_least(float, 0),
        default=60,
        metavar="SECONDS",
        help="seconds without activity after which an interrupted job is given up"
        " (default: %(default)s)",
    )
    add(
        "--tries",
        type=at_least(int, 1),
        default=3,
        help="how often a job is sent at most (default: %(default)s)",
    )
    add(
        "--health",
        type=address,
        default="127.0.0.1:8099",
        metavar="HOST:PORT",
        help="the address of the health endpoint (default: %(default)s)",
    )
    add("--yes", action="store_true", help="grant every permission request of the agent")
    add(
        "--demo",
        action="store_true",
        help="use the bundled server and a folder with two jobs",
    )
    args = parser.parse_args()
    if args.spool is None and not args.demo:
        parser.error("name a spool folder, or try --demo")
    return args


async def main() -> int:
    """Run the daemon and return its exit code."""
    args = parse()
    # The journal adds the time itself.
    time = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    form = f"{time}%(levelname)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, stream=sys.stderr)
    with contextlib.ExitStack() as stack:
        folder = args.spool or stack.enter_context(demo_folder())
        try:
            spool = stack.enter_context(contextlib.closing(Spool(folder)))
        except OSError as error:
            _log.error("the spool folder %s cannot be used: %s", folder, error)
            return 2
        host, port = args.health
        try:
            listeners = await trio.open_tcp_listeners(port, host=host)
        except OSError as error:
            _log.error("cannot serve health checks at %s:%d: %s", host, port, error)
            return 2
        async with MixServer(listen=args.demo) as server:
            await serve(args, spool, listeners, server.url if args.demo else None)
    return 0


if __name__ == "__main__":
    sys.exit(trio.run(main))
