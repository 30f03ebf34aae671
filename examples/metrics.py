"""Count what a client does, by hooks. Server: MIX_SERVER_URL or port 8088."""

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
    """Figures of one program, in the form that Prometheus reads."""

    def __init__(self) -> None:
        self.figures: Counter[str] = Counter()
        self.hooks = Hooks(
            after_success=self._request,
            after_error=self._request,
            message_finished=self._message,
            stream_lost=self._lost,
        )

    def _request(self, told: AfterSuccessContext | AfterErrorContext) -> None:
        status = told.status_code or "none"
        self.figures[f'mix_requests_total{{operation="{told.operation}",status="{status}"}}'] += 1

    def _message(self, told: MessageFinishedContext) -> None:
        self.figures[f'mix_messages_total{{outcome="{told.outcome}"}}'] += 1

    def _lost(self, told: StreamLostContext) -> None:
        self.figures[f'mix_stream_losses_total{{planned="{told.planned}"}}'] += 1


async def main() -> None:
    metrics = Metrics()
    async with Mix(hooks=metrics.hooks) as mix, mix.open_session(title="Metrics") as stream:
        await stream.ask("List the files here")
        async with stream.send("And explain them at length") as message:
            async for _ in message.text_deltas():
                break  # we have seen enough: the server is told to stop
    for name, value in sorted(metrics.figures.items()):
        print(name, value)


trio.run(main)
