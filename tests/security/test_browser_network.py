"""Attacks on local services through the browser tunnel, with a real Chromium."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.socket

from tests.support.hostile_browsing import open_attack, open_udp
from tests.support.resolver import TableResolver
from trio_mix.browser import _proxy

if TYPE_CHECKING:
    from pathlib import Path


async def test_an_unlisted_local_service_is_reached_by_no_navigation() -> None:
    async with open_attack() as attack:
        port = attack.victim.port
        attack.site.redirects["/go"] = f"{attack.victim.url}/secret"
        attack.site.pages["/refresh"] = (
            f"<meta http-equiv=refresh content='0; url={attack.victim.url}/secret'>".encode()
        )
        for url in (
            attack.victim.url,
            *(f"http://{host}:{port}/" for host in ("localhost", "127.1", "0x7f000001", "[::1]")),
            *(f"http://{host}:{port}/" for host in ("2130706433", "[::ffff:127.0.0.1]", "0")),
            f"http://{attack.site.address}@127.0.0.1:{port}/",
            f"{attack.site.url}/go",
            f"{attack.site.url}/refresh",
        ):
            text = await attack.visit(url)
            assert "INNER" not in text
        await attack.ask("Page.navigate", url=f"https://localhost:{port}/")
        made = await attack.ask("Target.createTarget", url=attack.victim.url)
        assert made["targetId"]
        await attack.pause(0.5)
        assert attack.victim.asked == []
        assert attack.tunnel.statistics().refused > 5


async def test_an_unlisted_local_service_is_reached_by_no_script() -> None:
    async with open_attack() as attack:
        victim, port = attack.victim.url, attack.victim.port
        for page in (attack.site.url, "data:text/html,<body>x</body>", "about:blank"):
            await attack.visit(page) if page != "about:blank" else None
            await attack.value_of(
                f"""(async () => {{
                    const url = '{victim}/script';
                    await fetch(url, {{mode: 'no-cors'}}).catch(() => 0);
                    await fetch('http://localhost:{port}/', {{mode: 'no-cors'}}).catch(() => 0);
                    navigator.sendBeacon(url, 'x');
                    new Image().src = url;
                    for (const [tag, name] of [['script', 'src'], ['iframe', 'src'],
                            ['link', 'href'], ['video', 'src'], ['object', 'data']]) {{
                        const element = document.createElement(tag);
                        element.rel = 'stylesheet';
                        element[name] = url;
                        document.documentElement.append(element);
                    }}
                    for (const rel of ['preconnect', 'prefetch', 'dns-prefetch', 'prerender']) {{
                        const link = document.createElement('link');
                        link.rel = rel;
                        link.href = url;
                        document.documentElement.append(link);
                    }}
                    for (const ws of ['ws://127.0.0.1:{port}/', 'ws://localhost:{port}/']) {{
                        await new Promise(done => {{
                            const socket = new WebSocket(ws);
                            socket.onclose = done;
                        }});
                    }}
                    new EventSource(url);
                    const code = `fetch('{victim}/worker', {{mode: 'no-cors'}})`;
                    try {{ new Worker(URL.createObjectURL(new Blob([code]))) }} catch (e) {{}}
                    const form = document.createElement('form');
                    form.method = 'post';
                    form.action = url;
                    form.target = '_blank';
                    document.documentElement.append(form);
                    form.submit();
                    window.open(url);
                }})()"""
            )
            await attack.pause(1)
        assert attack.victim.asked == []


async def test_a_name_whose_address_changes_is_checked_for_each_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DNS rebinding: a public address for the page, then loopback for its scripts."""
    public = "93.184.216.34"

    async def connect(addresses: list[str], port: int) -> trio.SocketStream:
        # The public address of the attacker's site, in the test: the listed site.
        host = "127.0.0.1" if addresses == [public] else addresses[0]
        return await trio.open_tcp_stream(host, port, local_address="127.0.0.2")

    monkeypatch.setattr(_proxy, "connect_to_one", connect)
    async with open_attack() as attack:
        answers = [[public], ["127.0.0.1"]]
        trio.socket.set_custom_hostname_resolver(TableResolver({"rebind.test": answers}))
        page = f"http://rebind.test:{attack.site.port}/"
        assert "INNER" in await attack.visit(page)
        assert attack.site.asked[0] == "/"
        read = await attack.value_of("fetch('/again').then(r => r.text()).catch(() => 'blocked')")
        assert "its address is a loopback address" in read
        victim = f"http://rebind.test:{attack.victim.port}/"
        shown = await attack.visit(victim)
        assert "its address is a loopback address" in shown
        assert "127.0.0.1" not in shown  # a page must not learn the addresses of local names
        assert attack.victim.asked == []


async def test_no_datagram_leaves_the_browser_beside_the_proxy() -> None:
    with open_udp() as udp:
        port = udp.getsockname()[1]
        async with open_attack() as attack:
            await attack.visit(attack.site.url)
            await attack.value_of(
                f"""(async () => {{
                    const servers = ['stun:127.0.0.1:{port}', 'turn:127.0.0.1:{port}'];
                    const connection = new RTCPeerConnection({{iceServers: servers.map(urls =>
                        ({{urls, username: 'u', credential: 'c'}}))}});
                    connection.createDataChannel('x');
                    await connection.setLocalDescription(await connection.createOffer());
                    try {{
                        const transport = new WebTransport('https://127.0.0.1:{port}/');
                        await transport.ready;
                    }} catch (e) {{}}
                }})()"""
            )
            await attack.pause(2)
        with pytest.raises(BlockingIOError):
            udp.recv(100)


async def test_the_credential_of_the_proxy_is_in_no_argument_environment_page_or_header() -> None:
    async with open_attack() as attack:
        _, proxy = attack.chromium._connection()
        assert proxy is not None
        await attack.visit(attack.site.url)
        children = [attack.chromium.pid]
        for pid in children:
            for name in ("cmdline", "environ"):
                assert proxy.password.encode() not in _read(f"/proc/{pid}/{name}")
            listed = _read(f"/proc/{pid}/task/{pid}/children").split()
            children += [int(child) for child in listed]
        history = await attack.ask("Page.getNavigationHistory")
        assert "sign-in" not in str(history)
        assert len(children) > 2


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


async def test_a_listed_development_server_works_and_ordinary_browsing_does(
    tmp_path: Path,
) -> None:
    async with open_attack(allow=["localhost"]) as attack:
        site = attack.site
        site.downloads["/report"] = "report.txt"
        site.pages["/app"] = (
            b'<title>App</title><h1>Todo</h1><input id=q><button onclick="'
            b"fetch('/save?' + q.value).then(() => document.title = 'Saved')\">Save</button>"
        )
        assert "Todo" in await attack.visit(f"http://localhost:{site.port}/app")
        root = (await attack.ask("DOM.getDocument"))["root"]["nodeId"]
        for selector in ("#q", "button"):
            node = (await attack.ask("DOM.querySelector", nodeId=root, selector=selector))["nodeId"]
            quad = (await attack.ask("DOM.getContentQuads", nodeId=node))["quads"][0]
            x, y = (quad[0] + quad[4]) / 2, (quad[1] + quad[5]) / 2
            for kind in ("mousePressed", "mouseReleased"):
                await attack.ask(
                    "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
                )
            if selector == "#q":
                await attack.ask("Input.insertText", text="milk")
                for kind in ("keyDown", "keyUp"):
                    await attack.ask("Input.dispatchKeyEvent", type=kind, key="s", text="s")
        await attack.until("document.title == 'Saved'")
        assert "/save?milks" in site.asked
        assert (await attack.ask("Page.captureScreenshot"))["data"].startswith("iVBOR")
        assert (await attack.ask("Page.printToPDF"))["data"].startswith("JVBER")
        nodes = (await attack.ask("Accessibility.getFullAXTree"))["nodes"]
        assert any(node.get("name", {}).get("value") == "Todo" for node in nodes)
        made = await attack.ask("Target.createTarget", url=f"{site.url}/")
        session = (await attack.ask("Target.attachToTarget", targetId=made["targetId"]))[
            "sessionId"
        ]
        assert await attack.value_of("1 + 1", session) == 2
        await attack.ask("Target.closeTarget", targetId=made["targetId"])
        await attack.ask("Page.navigate", url=f"{site.url}/report")
        folder = attack.tunnel.folder
        assert folder is not None
        while not (folder / "downloads" / "report.txt").exists():
            await attack.pause(0.05)
        assert attack.tunnel.statistics().denied == 0


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may act as another user"
)
async def test_another_user_reaches_nothing_through_the_running_browser() -> None:
    program = (
        "import socket, sys\n"
        "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "s.sendall(f'GET {sys.argv[2]}/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'.encode())\n"
        "sys.stdout.buffer.write(s.recv(1000))\n"
    )
    async with open_attack() as attack:
        _, proxy = attack.chromium._connection()
        assert proxy is not None
        done = await trio.run_process(
            ["/usr/bin/env", "python3", "-c", program, str(proxy.port), attack.site.url],
            capture_stdout=True,
            user=65534,
            group=65534,
            extra_groups=[],
        )
        assert done.stdout.startswith(b"HTTP/1.1 407")
        assert attack.site.asked == []


async def test_idle_connections_of_others_do_not_keep_the_browser_from_its_proxy() -> None:
    async with open_attack() as attack:
        _, proxy = attack.chromium._connection()
        assert proxy is not None
        idle = [await trio.open_tcp_stream("127.0.0.1", proxy.port) for _ in range(300)]
        assert "INNER" in await attack.visit(attack.site.url)
        for stream in idle:
            await trio.aclose_forcefully(stream)
