"""What systemd wants to hear of a service with ``Type=notify``; silent under anything else.

What it knows: the socket that systemd names. What it must never know: the daemon's work.
"""

from __future__ import annotations

import os
import socket

import trio

__all__ = ["keep_watchdog", "notify"]


def notify(state: str) -> None:
    """Tell systemd something, as ``READY=1``."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messenger:
            messenger.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
            messenger.send(state.encode())


async def keep_watchdog() -> None:
    """Say that the event loop turns, twice as often as systemd wants to hear it."""
    interval = float(os.environ.get("WATCHDOG_USEC", "0")) / 2e6
    while interval:
        notify("WATCHDOG=1")
        await trio.sleep(interval)
