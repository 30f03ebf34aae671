"""Give the agent a Chromium of this machine. Server: MIX_SERVER_URL; token: MIX_TUNNEL_TOKEN."""

import os

import trio

from trio_mix import Mix
from trio_mix.browser import launch_chromium, open_tunnel


async def main() -> None:
    token = os.environ.get("MIX_TUNNEL_TOKEN", "local")
    async with (
        Mix() as mix,
        mix.open_session(title="Browsing", browser_mode="electron-embedded-browser") as session,
        launch_chromium() as chromium,
        open_tunnel(mix, session.session_id, token=token, cdp_url=chromium.cdp_url) as tunnel,
    ):
        async with session.send("Open example.org and tell me its title") as message:
            async for text in message.text_deltas():
                print(text, end="", flush=True)
        print(f"\nDevTools commands answered: {tunnel.statistics().answers}")


trio.run(main)
