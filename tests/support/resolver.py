"""A resolver of host names that a test scripts."""

from __future__ import annotations

import socket
from typing import Any

import trio

__all__ = ["TableResolver"]


class TableResolver(trio.abc.HostnameResolver):
    """Resolves names from a table that maps each to its lists of addresses, one for each lookup.

    The last list is used for all further lookups. A name that is not in the table does not exist.
    """

    def __init__(self, names: dict[str, list[list[str]]]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, *_args: Any, **_options: Any) -> Any:
        await trio.lowlevel.checkpoint()
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        answers = self.names.get(name)
        if not answers:
            raise socket.gaierror("no such name")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))
            for address in addresses
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError
