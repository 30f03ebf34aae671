"""Give the agent a Chromium of this machine: browser_tunnel.py [--no-sandbox] [HOST:PORT ...].

Server: MIX_SERVER_URL; token: MIX_TUNNEL_TOKEN. The hosts are local ones that it may visit.
"""

import os
import sys

import trio

from trio_mix import Mix
from trio_mix.browser import Policy, launch_chromium, open_tunnel


async def main(hosts: list[str], sandbox: bool) -> None:
    token = os.environ.get("MIX_TUNNEL_TOKEN", "local")
    async with (
        Mix() as mix,
        mix.open_session(title="Browsing", browser_mode="electron-embedded-browser") as session,
        launch_chromium(policy=Policy(allow=hosts), sandbox=sandbox) as chromium,
        open_tunnel(mix, session.session_id, token=token, browser=chromium) as tunnel,
    ):
        async with session.send("Open example.org and tell me its title") as message:
            async for text in message.text_deltas():
                print(text, end="", flush=True)
        print(f"\nDevTools commands answered: {tunnel.statistics().answers}")


arguments = sys.argv[1:]
hosts = [argument for argument in arguments if argument != "--no-sandbox"]
trio.run(main, hosts, "--no-sandbox" not in arguments)
