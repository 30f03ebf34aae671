"""Notify systemd of the state of a service with ``Type=notify``; without systemd do nothing."""

from __future__ import annotations

import os
import socket

import trio

__all__ = ["keep_watchdog", "notify"]


def notify(state: str) -> None:
    """Send a state to systemd, for example ``READY=1``."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messenger:
            messenger.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
            messenger.send(state.encode())


async def keep_watchdog() -> None:
    """Report that the event loop runs, twice per watchdog interval."""
    interval = float(os.environ.get("WATCHDOG_USEC", "0")) / 2e6
    while interval:
        notify("WATCHDOG=1")
        await trio.sleep(interval)
