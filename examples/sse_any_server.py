"""Read any SSE server, over as many connections as it takes.

The program brings its own server. It counts, disconnects without notice after every third number,
and continues after the number in `Last-Event-ID`. No number is lost or repeated.
"""

import trio

from trio_mix.sse import ReconnectPolicy, StreamState, open_event_source


async def count(connection: trio.SocketStream) -> None:
    """Serve one connection: send three numbers, then disconnect."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += await connection.receive_some()
    last = 0
    for line in request.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "last-event-id":
            last = int(value)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    await connection.send_all(head)
    try:
        for number in range(last + 1, last + 4):
            frame = f"id: {number}\nevent: number\ndata: {number}\n\n"
            await connection.send_all(frame.encode())
    except trio.BrokenResourceError:
        pass  # the client has disconnected


def show_state(state: StreamState) -> None:
    """Print a change of the connection's state."""
    print(f"  ({state})")


async def main() -> None:
    """Print ten numbers, then the statistics of the connection."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, count, 0)
        port = listeners[0].socket.getsockname()[1]

        policy = ReconnectPolicy(initial_interval=0.05, max_elapsed_time=10)
        async with open_event_source(
            f"http://127.0.0.1:{port}/numbers",
            reconnect=policy,
            idle_timeout=5,
            on_state=show_state,
        ) as source:
            async for event in source:
                print(f"{event.event} {event.data}")
                if event.data == "10":
                    break
            statistics = source.statistics()

        print(f"{statistics.events} events over {statistics.connects} connections")
        print(f"last loss: {statistics.last_loss}")
        nursery.cancel_scope.cancel(reason="all numbers were received")


if __name__ == "__main__":
    trio.run(main)
