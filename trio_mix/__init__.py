"""trio_mix: the Trio-native client for Mix agent servers.

A message is sent inside a scope, and its events come back in it::

    async with Mix() as mix, mix.open_session(title="Demo") as stream:
        async with stream.send("List the files here") as message:
            async for event in message:
                ...
"""

from typing import TYPE_CHECKING

from trio_mix import errors as errors
from trio_mix import events as events
from trio_mix import funcs as funcs
from trio_mix import hooks as hooks
from trio_mix import models as models
from trio_mix import sse as sse
from trio_mix._core import MixCore as MixCore
from trio_mix._message import Message as Message
from trio_mix._mix import Mix as Mix
from trio_mix._options import BackoffStrategy as BackoffStrategy
from trio_mix._options import RequestOptions as RequestOptions
from trio_mix._options import RetryConfig as RetryConfig
from trio_mix._reply import Reply as Reply
from trio_mix._reply import ToolCall as ToolCall
from trio_mix._stream import SessionStream as SessionStream
from trio_mix._subscription import Subscription as Subscription
from trio_mix._version import __version__ as __version__
from trio_mix.hooks import Hooks as Hooks
from trio_mix.sse import ReconnectPolicy as ReconnectPolicy
from trio_mix.sse import StreamState as StreamState

if TYPE_CHECKING:
    from trio_mix import testing as testing
