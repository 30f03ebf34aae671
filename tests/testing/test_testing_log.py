"""The log of a bundled server is bounded in bytes."""

from __future__ import annotations

from trio_mix.testing._log import Log
from trio_mix.testing._records import MessageRun


async def test_texts_of_messages_are_kept_up_to_the_bound() -> None:
    log = Log(max_bytes=1_000_000)
    for number in range(1000):
        log.add(MessageRun(session_id="s", text=f"{number} {'x' * 10_000}", times=1))
    assert sum(len(record.text) for record in log.records if isinstance(record, MessageRun)) < 2**20
    assert sum(len(text) for _, text in log.runs) < 2**20
    assert [text[:3] for _, text in log.runs][-1] == "999"
