"""Standard input in any encoding."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING

from tests.support.cases import case
from trio_mix.cli.commands import _ask
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    import pytest

    from tests.support.command_line import RunCommand

INPUTS = [
    ("Grüße 😀".encode(), "Grüße 😀"),
    (codecs.BOM_UTF8 + "Grüße".encode(), "Grüße"),
    ("Grüße 😀".encode("utf-16"), "Grüße 😀"),
    (codecs.BOM_UTF16_BE + "Grüße".encode("utf-16-be"), "Grüße"),
    ("Grüße".encode("utf-32"), "Grüße"),
    ("Grüße".encode("latin-1"), "Gr\ufffd\ufffde"),
    (b"half a character: \xf0\x9f", "half a character: \ufffd"),
    (b"a surrogate: \xed\xa0\x80.", "a surrogate: \ufffd\ufffd\ufffd."),
]


async def test_input_in_any_encoding_is_sent_as_text(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        for given, text in INPUTS:
            for command in (("ask", "-"), ("chat",)):
                with case(given, command):
                    done = await run_command(
                        *command, "--jsonl", "--server", server.url, stdin=given
                    )
                    assert (done.code, done.err) == (0, "")
                    sent = [
                        record["content"]
                        for record in map(json.loads, done.lines)
                        if record["event"] == "user_message_created"
                    ]
                    assert sent == [text]


async def test_input_that_is_too_long_is_a_mistake(
    run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ask, "MAX_INPUT", 100)
    done = await run_command("ask", "-", "--server", "http://mix.test", stdin="x" * 101)
    assert done.code == 2
    assert "more than 100 characters" in done.err
