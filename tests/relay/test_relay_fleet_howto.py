"""The how-to page of several relays: its settings and its nginx, and a relay that is killed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from tests.support.relay_fleet import RelayProcess, free_port, owner_of
from trio_mix import Mix, ReconnectPolicy
from trio_mix.testing import MixServer, Say, Turn, WaitFor

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer

PAGE = Path(__file__).parents[2] / "docs/how-to/relay-fleet.md"


def block(mark: str) -> str:
    """Return the code block of the page after a mark."""
    found = re.search(rf"<!-- fleet: {mark} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found.group(1)


def nginx_configuration(folder: Path, port: int, relays: list[RelayProcess]) -> Path:
    """Write the page's nginx configuration with our ports, without TLS."""
    text = block("nginx")
    for number, relay in enumerate(relays, start=8091):
        assert f"127.0.0.1:{number}" in text
        text = text.replace(f"127.0.0.1:{number}", f"127.0.0.1:{relay.port}")
    text = re.sub(r" *ssl_certificate.*\n", "", text)
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\nevents {{}}\n"
        f"http {{ access_log off;\n{paths}{text}}}\n"
    )
    return config


async def test_a_client_behind_nginx_has_the_whole_answer_when_its_relay_is_killed(
    redis: RedisServer, tmp_path: Path
) -> None:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("no nginx on this machine: the page about several relays was NOT tried")
    go_on = trio.Event()
    settings = re.sub(r"(?m)^(#|upstream|log|token_file|hosts).*\n", "", block("settings"))
    settings = settings.replace("lease_ttl = 5 ", "lease_ttl = 1 ") + 'hosts = ["relay.example"]\n'
    async with MixServer() as server:
        session_id = server.create_session()
        server.script("story", Turn(Say("begun "), WaitFor(go_on), Say("ended")))
        relays = [RelayProcess(server.url, redis.url, tmp_path, settings) for _ in range(2)]
        port = free_port()
        config = nginx_configuration(tmp_path, port, relays)
        proxy: trio.Process | None = None
        try:
            with trio.fail_after(120):
                async with trio.open_nursery() as nursery:
                    for relay in relays:
                        nursery.start_soon(relay.start)
                proxy = await trio.lowlevel.open_process(
                    [nginx, "-c", str(config)], stderr=subprocess.DEVNULL
                )
                headers = {"Host": "relay.example"}
                policy = ReconnectPolicy(initial_interval=0.1, max_interval=0.3)
                url = f"http://127.0.0.1:{port}"
                await until_answered(url)
                async with (
                    Mix(url, headers=headers) as mix,
                    mix.open_stream(session_id, reconnect=policy) as session,
                    session.send("story") as message,
                ):
                    async for text in message.text_deltas():
                        if text:
                            break
                    owner = await owner_of(relays)
                    await owner.end()
                    go_on.set()
                    reply = await message.wait()
                    assert (reply.text, session.statistics().connects > 1) == ("begun ended", True)
        finally:
            with trio.CancelScope(shield=True):
                for relay in relays:
                    await relay.end()
                if proxy is not None:
                    proxy.terminate()
                    await proxy.wait()
        assert server.runs("story") == 1


async def until_answered(url: str) -> None:
    async with httpx.AsyncClient() as client:
        while True:
            try:
                response = await client.get(f"{url}/relay/health/live")
            except httpx.TransportError:
                await trio.lowlevel.checkpoint()
            else:
                assert response.status_code == 403  # not for everybody, as the page says
                return
