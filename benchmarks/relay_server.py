"""What fans one upstream stream out in the relay's benches, each in a process of its own.

`python -m benchmarks.relay_server PEER UPSTREAM FOLDER` prints the port, and serves
``GET /stream?sessionId=…`` until it is killed. Its CPU time and memory are what is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import sys
from pathlib import Path

RELAY = "trio_mix relay"
RELAYS = "trio_mix relays on one Redis"
STARLETTE = "hypercorn + starlette"
NCHAN = "nchan (nginx, C)"

_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
_NGINX = """
load_module {module};
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 32768; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  nchan_shared_memory_size 512M;
  keepalive_requests 10000000;
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    location = /publish {{
      nchan_publisher;
      nchan_channel_id $arg_sessionId;
      nchan_message_buffer_length 20000;
    }}
    location = /stream {{
      nchan_subscriber eventsource;
      nchan_channel_id $arg_sessionId;
      nchan_subscriber_first_message oldest;
    }}
  }}
}}
"""


def serve_relay(upstream: str, folder: Path) -> None:
    """Run a relay with its default settings: on a new SQLite file, or on the Redis of a file."""
    import trio

    from trio_mix.relay import RedisLog, Relay, SqliteLog

    async def main() -> None:
        log: RedisLog | SqliteLog = SqliteLog(folder / "relay.db")
        if (redis := folder / "redis.url").exists():
            log = RedisLog(redis.read_text())
        async with Relay(upstream, log=log) as relay, trio.open_nursery() as nursery:
            await relay.wait_ready()
            url = await nursery.start(relay.serve, "127.0.0.1", 0)
            print(url.rpartition(":")[2], flush=True)

    trio.run(main)


def serve_starlette(upstream: str) -> None:
    """Run an application that passes an upstream stream on to a channel for each consumer."""
    import hypercorn.trio
    import trio
    from hypercorn.config import Config
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    from trio_mix.sse import open_event_source

    consumers: dict[str, dict[object, trio.MemorySendChannel[bytes]]] = {}

    async def read(session: str) -> None:
        url = f"{upstream}/stream?sessionId={session}"
        async with open_event_source(url) as events:
            async for event in events:
                frame = f"id: {event.id}\nevent: {event.event}\ndata: {event.data}\n\n".encode()
                for channel in list(consumers[session].values()):
                    channel.send_nowait(frame)

    async def stream(request):  # type: ignore[no-untyped-def]
        session = request.query_params["sessionId"]
        send, receive = trio.open_memory_channel[bytes](10_000)
        if session not in consumers:
            consumers[session] = {}
            nursery.start_soon(read, session)
        consumers[session][receive] = send

        async def body():  # type: ignore[no-untyped-def]
            try:
                yield b"event: connected\ndata: {}\n\n"
                async for frame in receive:
                    more = [frame]
                    with contextlib.suppress(trio.WouldBlock):
                        while True:
                            more.append(receive.receive_nowait())
                    yield b"".join(more)
            finally:
                del consumers[session][receive]

        return StreamingResponse(body(), media_type="text/event-stream")

    async def main() -> None:
        nonlocal nursery
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = Config()
        config.bind = [f"127.0.0.1:{port}"]
        config.backlog = 8192
        config.errorlog = None
        app = Starlette(routes=[Route("/stream", stream)])
        async with trio.open_nursery() as nursery:

            async def announce() -> None:
                while True:
                    try:
                        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                    except OSError:
                        await trio.sleep(0.05)
                    else:
                        print(port, flush=True)
                        return

            nursery.start_soon(announce)
            await hypercorn.trio.serve(app, config)

    nursery: trio.Nursery
    trio.run(main)


def serve_nchan(folder: Path) -> None:
    """Become nginx with nchan; the upstream publishes to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(module=_MODULE, folder=folder, port=port))
    print(port, flush=True)
    os.execvp("nginx", ["nginx", "-p", str(folder), "-c", str(config)])


def missing(peer: str) -> str | None:
    """Return why a peer cannot run on this machine, or None."""
    from importlib.util import find_spec
    from shutil import which

    if peer == NCHAN and not (which("nginx") and _MODULE.exists()):
        return "nginx with nchan is not installed (Debian: libnginx-mod-nchan)"
    if peer == STARLETTE and not (find_spec("hypercorn") and find_spec("starlette")):
        return "hypercorn or starlette is not installed"
    return None


def main() -> None:
    peer, upstream, folder = sys.argv[1:]
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if peer in (RELAY, RELAYS):
        serve_relay(upstream, Path(folder))
    elif peer == STARLETTE:
        serve_starlette(upstream)
    elif peer == NCHAN:
        serve_nchan(Path(folder))
    else:
        raise SystemExit(json.dumps(peer))


if __name__ == "__main__":
    main()
