"""Binds the address of a server that a command runs."""

from __future__ import annotations

import errno
import socket
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from trio_mix.cli._errors import CommandFailure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractAsyncContextManager

T = TypeVar("T")


@contextmanager
def binding(host: str, port: int) -> Iterator[None]:
    """Report in the words of the user that the block cannot bind an address.

    Raises:
      CommandFailure: it is in use, may not be bound, or is not of this machine.
    """
    try:
        yield
    except OSError as error:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            why = "this machine does not have the address: choose another one"
        elif error.errno == errno.EADDRINUSE:
            why = "the port is in use: choose another one, or stop the program that uses it"
        elif error.errno == errno.EACCES and error.filename is None:
            why = "you may not use the port: choose one from 1024"
        else:
            raise
        raise CommandFailure(f"{where}: {why}") from error


@asynccontextmanager
async def listening(
    server: AbstractAsyncContextManager[T], host: str, port: int
) -> AsyncIterator[T]:
    """Run a server that binds an address when it is entered.

    Raises:
      CommandFailure: the address cannot be bound.
    """
    async with AsyncExitStack() as stack:
        with binding(host, port):
            entered = await stack.enter_async_context(server)
        yield entered
