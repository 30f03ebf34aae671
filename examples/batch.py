"""Run a file of prompts, one per line, in several sessions at once.

python examples/batch.py prompts.txt results.jsonl --demo    with the bundled server
python examples/batch.py prompts.txt results.jsonl -n 8      with the server at MIX_SERVER_URL

You can interrupt or kill it and start it again: it continues where it stopped. The results are
lines of JSON, appended and synced to the disk; the last line of a prompt counts. A line with the
prompt's ticket is written before it is sent, so that the next run finds its answer, waits for it,
or sends it. A prompt with an answer is not run again; one that failed is. A prompt that may have
run, without proof, is in doubt, and is not run again unless you pass --again.

Exit code: 0 all answered, 1 some failed or are in doubt, 2 could not start, 130 interrupted.
"""

import argparse
import contextlib
import enum
import errno
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterable, Iterator
from pathlib import Path
from typing import TypeAlias

import attrs
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trio_mix import Mix, RequestOptions, RetryConfig, Ticket
from trio_mix.errors import MessageError, StreamError, TrioMixError
from trio_mix.testing import MixServer

ONCE = RequestOptions(retries=RetryConfig(strategy="none"))

Key: TypeAlias = tuple[str, int]


class Status(enum.StrEnum):
    """The state of a prompt."""

    SENT = "sent"  # it has a ticket; the last state only after a kill or an interruption
    DONE = "done"
    FAILED = "failed"
    DOUBT = "doubt"


@attrs.frozen(kw_only=True)
class Result:
    """One line of the results file."""

    prompt: str
    copy: int = 1  # counts the same prompt if the file has it several times
    status: Status = attrs.field(converter=Status)
    ticket: str = ""
    text: str = ""
    tools: list[str] = attrs.field(factory=list[str])
    error: str = ""
    recovered: bool = False

    @property
    def key(self) -> Key:
        """Identifies the prompt even if its line moves when the file is edited."""
        return self.prompt, self.copy


class Results:
    """The results file: read at the start, then only appended to."""

    def __init__(self, path: Path) -> None:
        self.last: dict[Key, Result] = {}
        self._writing = threading.Lock()
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "a+b", 0)
        if sys.platform != "win32":
            import fcntl

            try:  # two runs at once would run every prompt twice
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._file.close()
                raise
        self._file.seek(0)
        whole, newline, torn = self._file.read().rpartition(b"\n")
        for line in whole.splitlines():
            result = Result(**json.loads(line))
            self.last[result.key] = result
        if torn:  # an earlier run was killed while writing
            self._file.truncate(len(whole) + len(newline))

    def close(self) -> None:
        self._file.close()

    async def add(self, result: Result) -> None:
        """Append a line; it is on the disk when this returns, or the file is as before."""
        line = json.dumps(attrs.asdict(result)).encode() + b"\n"
        with trio.CancelScope(shield=True):  # takes milliseconds
            await trio.to_thread.run_sync(self._append, line)
        self.last[result.key] = result

    def _append(self, line: bytes) -> None:
        with self._writing:
            size = os.fstat(self._file.fileno()).st_size
            try:
                if self._file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, "the results file cannot grow")
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(size)
                raise


def read_prompts(path: Path) -> list[Key]:
    """Return the prompts: all lines except empty ones and comments."""
    seen: Counter[str] = Counter()
    prompts: list[Key] = []
    for data in map(bytes.strip, path.read_bytes().splitlines()):
        line = data.decode(errors="surrogateescape")  # one bad line does not stop the others
        if line and not line.startswith("#"):
            seen[line] += 1
            prompts.append((line, seen[line]))
    return prompts


@attrs.define
class Batch:
    """Runs prompts and records their results."""

    mix: Mix
    results: Results
    settle: float
    grant: bool
    again: bool

    def status_of(self, key: Key) -> Status | None:
        result = self.results.last.get(key)
        return None if result is None else result.status

    async def process(self, key: Key) -> None:
        """Run one prompt, or find the result of an earlier run."""
        new = Result(prompt=key[0], copy=key[1], status=Status.SENT)
        result = self.results.last.get(key, new)
        try:
            if result.ticket:
                result = await self._run(result)
            in_doubt = result.status is Status.DOUBT and not self.again
            if result.status is not Status.DONE and not in_doubt:
                result = await self._run(new)
            await self.results.add(result)
        except (OSError, UnicodeError, TrioMixError) as error:
            # Nothing was sent, or the last line of the file has its ticket.
            self.results.last[key] = attrs.evolve(new, status=Status.FAILED, error=str(error))

    async def _run(self, result: Result) -> Result:
        """Send a prompt, or find out how far it came, and return its outcome."""
        ticket = Ticket.from_json(result.ticket) if result.ticket else None

        async def save(ticket: Ticket) -> None:
            nonlocal result
            result = attrs.evolve(result, status=Status.SENT, ticket=ticket.to_json(), error="")
            await self.results.add(result)

        if ticket is None:
            result.prompt.encode()  # a line that is not UTF-8 fails here
            title = f"Batch: {result.prompt[:40]}"
            session_id = (await self.mix.sessions.create(title=title)).id
        else:
            session_id = ticket.session_id
        try:
            async with self.mix.open_stream(
                session_id, on_permission=self._decide, settle_timeout=self.settle
            ) as session:
                if ticket is None:
                    ticket = await session.prepare(result.prompt)
                    await save(ticket)
                async with session.resume(ticket, save=save) as message:
                    reply = await message.wait()
            tools = [call.name for call in reply.tool_calls]
            ended = attrs.evolve(result, text=reply.text, tools=tools, recovered=reply.recovered)
            ended = attrs.evolve(ended, status=Status.DONE, ticket="")
        except (MessageError, StreamError) as error:
            unknown = isinstance(error, StreamError) or getattr(error, "outcome", "") == "unknown"
            if ticket is not None and unknown:
                return attrs.evolve(result, status=Status.DOUBT, error=str(error))
            ended = attrs.evolve(result, status=Status.FAILED, ticket="", error=str(error))
        await self._delete(session_id)
        return ended

    async def _decide(self, *_: object) -> bool:
        return self.grant

    async def _delete(self, session: str) -> None:
        ignored = contextlib.suppress(TrioMixError)  # a session that remains does no harm
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5), ignored:
            await self.mix.sessions.delete(id=session, options=ONCE)


async def run(batch: Batch, prompts: list[Key], sessions: int, console: Console) -> int:
    """Run the prompts and return the exit code."""
    todo = [key for key in prompts if batch.status_of(key) is not Status.DONE]
    left = iter(todo)  # shared by all workers
    interrupted = False
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("prompts", total=len(prompts), completed=len(prompts) - len(todo))

        async def worker() -> None:
            for key in left:
                await batch.process(key)
                progress.advance(bar)
                result = batch.results.last[key]
                if result.status is not Status.DONE:
                    line = f"{result.status}: {result.prompt}: {result.error}"
                    line = line.encode(errors="backslashreplace").decode()
                    console.print(line, markup=False)

        async def handle_signals(signals: AsyncIterable[int], everything: trio.CancelScope) -> None:
            nonlocal interrupted
            async for _ in signals:
                interrupted = True
                progress.update(bar, description="stopping")
                everything.cancel(reason="interrupted")

        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(handle_signals, signals, nursery.cancel_scope)
                async with trio.open_nursery() as workers:
                    for _ in range(sessions):
                        workers.start_soon(worker)
                nursery.cancel_scope.cancel(reason="all prompts are done")

    counts = Counter(batch.status_of(key) or "left" for key in prompts)
    console.print(", ".join(f"{count} {what}" for what, count in counts.items()), highlight=False)
    if interrupted:
        console.print("Interrupted. Run it again to continue.")
        return 130
    return 0 if counts[Status.DONE] == len(prompts) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a file of prompts.")
    add = parser.add_argument
    add("prompts", type=Path, help="one prompt per line; # begins a comment")
    add("results", type=Path, help="the file that results are appended to, as lines of JSON")
    add("-n", type=int, default=4, help="sessions at once (default: %(default)s)")
    add(
        "--settle",
        type=float,
        default=60,
        metavar="SECONDS",
        help="seconds without a sign of life"
        " after which an interrupted prompt is given up (default: %(default)s)",
    )
    add("--yes", action="store_true", help="grant every permission request of the agent")
    add("--again", action="store_true", help="run prompts that are in doubt again")
    add("--demo", action="store_true", help="use the bundled server")
    return parser.parse_args()


async def work(args: argparse.Namespace, console: Console) -> int:
    prompts = read_prompts(args.prompts)
    with contextlib.closing(Results(args.results)) as results:
        async with (
            MixServer(listen=args.demo) as server,
            Mix(server.url if args.demo else None) as mix,
        ):
            await mix.sessions.list(options=ONCE)  # fails at once if there is no server
            batch = Batch(mix, results, settle=args.settle, grant=args.yes, again=args.again)
            return await run(batch, prompts, args.n, console)


async def main() -> int:
    args, console = parse(), Console(stderr=True)
    try:
        return await work(args, console)
    except* BlockingIOError:
        problem = f"another run is using {args.results}"
    except* (OSError, ValueError, TrioMixError) as errors:  # nurseries raise groups
        problem = str(next(_leaves(errors)))
    console.print(problem, markup=False, highlight=False, soft_wrap=True)
    return 2


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        yield from _leaves(error) if isinstance(error, BaseExceptionGroup) else (error,)


if __name__ == "__main__":
    sys.exit(trio.run(main))
