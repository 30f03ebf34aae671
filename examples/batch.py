"""Work through a file of prompts, one on each line, with several sessions at once.

python examples/batch.py prompts.txt results.jsonl --demo    with the bundled server
python examples/batch.py prompts.txt results.jsonl -n 8      with the server at MIX_SERVER_URL

Interrupt it, kill it, start it again: it goes on where it was. The results are lines of JSON,
appended and synced to the disk; the last line about a prompt counts. A line is written before a
prompt is sent, too, with its session: after a kill, what the server has stored there tells whether
it ran. What has an answer is not run again; what failed is. What may have run, and nobody can
tell, is in doubt, and left alone unless you say --again.

Exit code: 0 all answered, 1 some failed or are in doubt, 2 it could not work, 130 interrupted.
"""

import argparse
import contextlib
import enum
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterable, Iterator
from pathlib import Path
from typing import TypeAlias

import attrs
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trio_mix import Mix, RequestOptions, RetryConfig
from trio_mix.errors import MessageInterrupted, MixError, TrioMixError
from trio_mix.testing import MixServer

ONCE = RequestOptions(retries=RetryConfig(strategy="none"))
BROKEN_OFF = ("error", "canceled", "cancelled", "aborted")
GOES_ON = ("", "tool_use", "tool_calls", "unknown")

Key: TypeAlias = tuple[str, int]


class Status(enum.StrEnum):
    """What is known of a prompt."""

    SENT = "sent"  # about to be sent, or sent: only seen after a kill
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DOUBT = "doubt"


@attrs.frozen(kw_only=True)
class Result:
    """A line of the results."""

    prompt: str
    copy: int = 1  # the same prompt may stand in the file several times
    status: Status = attrs.field(converter=Status)
    session: str = ""
    text: str = ""
    tools: list[str] = attrs.field(factory=list[str])
    error: str = ""
    recovered: bool = False

    @property
    def key(self) -> Key:
        """Which prompt it is about: its line may move when the file is edited."""
        return self.prompt, self.copy


class Results:
    """The file of results: read at the start, then only ever added to."""

    def __init__(self, path: Path) -> None:
        self.last: dict[Key, Result] = {}
        self._file = path.open("a+b", buffering=0)
        if sys.platform != "win32":
            import fcntl

            try:  # two runs at once would run all twice
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._file.close()
                raise
        self._file.seek(0)
        whole, newline, torn = self._file.read().rpartition(b"\n")
        for line in whole.splitlines():
            result = Result(**json.loads(line))
            self.last[result.key] = result
        if torn:  # the run was killed while it wrote
            self._file.truncate(len(whole) + len(newline))

    def close(self) -> None:
        self._file.close()

    async def add(self, result: Result) -> None:
        """Append a line; it is on the disk when this returns."""
        line = json.dumps(attrs.asdict(result), ensure_ascii=False).encode() + b"\n"
        with trio.CancelScope(shield=True):  # a matter of milliseconds
            self._file.write(line)
            await trio.to_thread.run_sync(os.fsync, self._file.fileno())
        self.last[result.key] = result


def read_prompts(path: Path) -> list[Key]:
    """Return the prompts: lines that are neither empty nor comments."""
    seen: Counter[str] = Counter()
    prompts: list[Key] = []
    for line in map(str.strip, path.read_text(encoding="utf-8").splitlines()):
        if line and not line.startswith("#"):
            seen[line] += 1
            prompts.append((line, seen[line]))
    return prompts


@attrs.define
class Batch:
    """A run: the prompts that are left, and what is done with each."""

    mix: Mix
    results: Results
    settle: float
    grant: bool
    again: bool

    def status_of(self, key: Key) -> Status | None:
        result = self.results.last.get(key)
        return None if result is None else result.status

    async def work_off(self, key: Key) -> None:
        """Get one prompt to a result."""
        before = self.results.last.get(key)
        if before is not None and before.status in (Status.SENT, Status.DOUBT):
            found = await self._ask_what_became_of_it(before)
            if found is not None:
                await self.results.add(found)
                if found.status is Status.DONE:
                    await self._delete(found.session)
                if found.status is Status.DONE or not self.again:
                    return
        await self._run(*key)

    async def _run(self, prompt: str, copy: int) -> None:
        result = Result(prompt=prompt, copy=copy, status=Status.SENT)
        try:
            session = await self.mix.sessions.create(title=f"Batch: {prompt[:40]}")
        except MixError as error:
            await self.results.add(attrs.evolve(result, status=Status.FAILED, error=str(error)))
            return
        sent = result = attrs.evolve(result, session=session.id)
        await self.results.add(sent)
        try:
            async with self.mix.open_stream(
                session.id, on_permission=self._decide, settle_timeout=self.settle
            ) as stream:
                reply = await stream.ask(prompt)
            tools = [call.name for call in reply.tool_calls]
            result = attrs.evolve(
                sent, status=Status.DONE, text=reply.text, tools=tools, recovered=reply.recovered
            )
        except MessageInterrupted as error:
            status = Status.DOUBT if error.outcome == "unknown" else Status.FAILED
            result = attrs.evolve(sent, status=status, error=str(error))
        except TrioMixError as error:
            result = attrs.evolve(sent, status=Status.FAILED, error=str(error))
        except trio.Cancelled:  # leaving the message has told the server to stop
            result = attrs.evolve(sent, status=Status.CANCELLED, error="interrupted")
            raise
        finally:
            if result is not sent:
                await self.results.add(result)
                if result.status is not Status.DOUBT:
                    await self._delete(session.id)

    async def _decide(self, *_: object) -> bool:
        return self.grant

    async def _ask_what_became_of_it(self, before: Result) -> Result | None:
        """Look at what is stored; None if it never arrived, or was broken off: so it may be run."""
        stored, silent_since = "", trio.current_time()
        doubt = "it began to run, and did not end"
        while trio.current_time() - silent_since < self.settle:
            try:
                messages = (await self.mix.sessions.export_session(id=before.session)).messages
            except MixError as error:
                doubt = f"its session cannot be read any more: {error}"
                break
            answers = [row for row in messages if row.role == "assistant"]
            finish = (answers[-1].finish_reason or "") if answers else ""
            text = "".join(row.content for row in answers)
            if not messages or finish in BROKEN_OFF:
                await self._delete(before.session)
                return None
            if finish not in GOES_ON:
                tools = [call.name for row in answers for call in row.tool_calls or ()]
                return attrs.evolve(
                    before, status="done", text=text, tools=tools, error="", recovered=True
                )
            if (now := repr(messages)) != stored:  # it grows: the agent is still at it
                stored, silent_since = now, trio.current_time()
            await trio.sleep(min(1.0, self.settle / 8))
        return attrs.evolve(before, status=Status.DOUBT, error=doubt)

    async def _delete(self, session: str) -> None:
        no_harm = contextlib.suppress(TrioMixError)  # is done by a session that stays
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5), no_harm:
            await self.mix.sessions.delete(id=session, options=ONCE)


async def run(batch: Batch, prompts: list[Key], sessions: int, console: Console) -> int:
    """Work through the prompts and return the exit code."""
    todo = [key for key in prompts if batch.status_of(key) is not Status.DONE]
    left = iter(todo)  # shared by all workers
    interrupted = False
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("prompts", total=len(prompts), completed=len(prompts) - len(todo))

        async def worker() -> None:
            for key in left:
                await batch.work_off(key)
                progress.advance(bar)
                result = batch.results.last[key]
                if result.status is not Status.DONE:
                    console.print(f"{result.status}: {result.prompt}: {result.error}", markup=False)

        async def obey(signals: AsyncIterable[int], everything: trio.CancelScope) -> None:
            nonlocal interrupted
            async for _ in signals:
                interrupted = True
                progress.update(bar, description="stopping")
                everything.cancel(reason="interrupted")

        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(obey, signals, nursery.cancel_scope)
                async with trio.open_nursery() as workers:
                    for _ in range(sessions):
                        workers.start_soon(worker)
                nursery.cancel_scope.cancel(reason="all is done")

    counts = Counter(batch.status_of(key) or "left" for key in prompts)
    console.print(", ".join(f"{count} {what}" for what, count in counts.items()), highlight=False)
    if interrupted:
        console.print("Interrupted. Run it again to go on.")
        return 130
    return 0 if counts[Status.DONE] == len(prompts) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Work through a file of prompts.")
    add = parser.add_argument
    add("prompts", type=Path, help="one prompt on each line; # begins a comment")
    add("results", type=Path, help="where results are appended, as lines of JSON")
    add("-n", type=int, default=4, help="sessions at once (default: %(default)s)")
    add(
        "--settle",
        type=float,
        default=60,
        metavar="SECONDS",
        help="how long a prompt that was"
        " cut may be silent before it is given up (default: %(default)s)",
    )
    add("--yes", action="store_true", help="grant the agent whatever it asks for")
    add("--again", action="store_true", help="run what is in doubt again")
    add("--demo", action="store_true", help="use the bundled server")
    return parser.parse_args()


async def work(args: argparse.Namespace, console: Console) -> int:
    prompts = read_prompts(args.prompts)
    with contextlib.closing(Results(args.results)) as results:
        async with (
            MixServer(listen=args.demo) as server,
            Mix(server.url if args.demo else None) as mix,
        ):
            await mix.sessions.list(options=ONCE)  # is there a server at all?
            batch = Batch(mix, results, settle=args.settle, grant=args.yes, again=args.again)
            return await run(batch, prompts, args.n, console)


async def main() -> int:
    args, console = parse(), Console(stderr=True)
    try:
        return await work(args, console)
    except* BlockingIOError:
        problem = f"another run is at work on {args.results}"
    except* (OSError, ValueError, TrioMixError) as errors:  # nurseries raise groups
        problem = str(next(_leaves(errors)))
    console.print(problem, markup=False, highlight=False, soft_wrap=True)
    return 2


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        yield from _leaves(error) if isinstance(error, BaseExceptionGroup) else (error,)


if __name__ == "__main__":
    sys.exit(trio.run(main))
