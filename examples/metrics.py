"""Count what a client does, with hooks. Server: MIX_SERVER_URL or port 8088."""

from collections import Counter

import trio

from trio_mix import Hooks, Mix
from trio_mix.hooks import (
    AfterErrorContext,
    AfterSuccessContext,
    MessageFinishedContext,
    StreamLostContext,
)


class Metrics:
    """Counters of one program, in the format of Prometheus."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.hooks = Hooks(
            after_success=self._request,
            after_error=self._request,
            message_finished=self._message,
            stream_lost=self._lost,
        )

    def _request(self, context: AfterSuccessContext | AfterErrorContext) -> None:
        labels = f'operation="{context.operation}",status="{context.status_code or "none"}"'
        self.counters[f"mix_requests_total{{{labels}}}"] += 1

    def _message(self, context: MessageFinishedContext) -> None:
        self.counters[f'mix_messages_total{{outcome="{context.outcome}"}}'] += 1

    def _lost(self, context: StreamLostContext) -> None:
        self.counters[f'mix_stream_losses_total{{planned="{context.planned}"}}'] += 1


async def main() -> None:
    metrics = Metrics()
    async with Mix(hooks=metrics.hooks) as mix, mix.open_session(title="Metrics") as session:
        await session.ask("List the files here")
        async with session.send("And explain them at length") as message:
            async for _ in message.text_deltas():
                break  # leaving early cancels the turn on the server
    for name, value in sorted(metrics.counters.items()):
        print(name, value)


trio.run(main)
