"""A relay's process in memory: its connections and its log end when it is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio
import trio.testing

from tests.support.relay_memory_log import MemoryLog
from trio_mix.relay._errors import LogError
from trio_mix.testing import (
    FaultProxy,
    MemoryNetwork,
    MemoryStream,
)

if TYPE_CHECKING:
    from trio_mix.relay._hub import Hub

__all__ = ["Process", "ProcessLog", "ProcessNetwork"]


class ProcessNetwork(MemoryNetwork):
    """The connections of one process, which end with it."""

    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__(lambda _stream: True)
        self._proxy = proxy
        self._ends: list[MemoryStream] = []
        self._dead = False

    def connect(self) -> MemoryStream:
        if self._dead:
            raise OSError("the process is dead")
        end = self._proxy.network.connect()
        self._ends.append(end)
        return end

    def kill(self) -> None:
        self._dead = True
        for end in self._ends:
            end.close(reset=True)


class ProcessLog(MemoryLog):
    """The log as one process has it: once killed, it writes nothing more."""

    killed = False

    async def pause(self) -> None:
        if self.killed:
            raise LogError("the process is dead")
        await super().pause()
        if self.killed:
            raise LogError("the process is dead")


@attrs.define
class Process:
    """One relay."""

    hub: Hub
    log: ProcessLog
    network: ProcessNetwork
    scope: trio.CancelScope
    ended: trio.Event = attrs.field(factory=trio.Event)
