"""trio_mix: the Trio-native client for Mix agent servers.

A message is sent by entering its scope, which yields its events and its reply::

    async with Mix() as mix, mix.open_session(title="Demo") as session:
        async with session.send("List the files here") as message:
            async for event in message:
                ...
            reply = message.reply
"""

from typing import TYPE_CHECKING

from trio_mix._lazy import lazy
from trio_mix._version import __version__ as __version__

if TYPE_CHECKING:
    from trio_mix import browser as browser
    from trio_mix import errors as errors
    from trio_mix import events as events
    from trio_mix import funcs as funcs
    from trio_mix import hooks as hooks
    from trio_mix import models as models
    from trio_mix import relay as relay
    from trio_mix import resources as resources
    from trio_mix import sse as sse
    from trio_mix import testing as testing
    from trio_mix._mix import Mix as Mix
    from trio_mix._reply import Reply as Reply
    from trio_mix._reply import ToolCall as ToolCall
    from trio_mix._reply import Usage as Usage
    from trio_mix._rest._core import MixCore as MixCore
    from trio_mix._rest._options import BackoffStrategy as BackoffStrategy
    from trio_mix._rest._options import RequestOptions as RequestOptions
    from trio_mix._rest._options import ResponseHead as ResponseHead
    from trio_mix._rest._options import RetryConfig as RetryConfig
    from trio_mix._rest._responses import Response as Response
    from trio_mix._session._message import Message as Message
    from trio_mix._session._stream import SessionStream as SessionStream
    from trio_mix._session._subscription import RawSubscription as RawSubscription
    from trio_mix._session._subscription import Subscription as Subscription
    from trio_mix._ticket import Ticket as Ticket
    from trio_mix.hooks import Hooks as Hooks
    from trio_mix.sse import ReconnectPolicy as ReconnectPolicy
    from trio_mix.sse import StreamState as StreamState

    __all__: list[str]
else:
    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {
            "trio_mix._mix": ("Mix",),
            "trio_mix._reply": ("Reply", "ToolCall", "Usage"),
            "trio_mix._rest._core": ("MixCore",),
            "trio_mix._rest._options": (
                "BackoffStrategy",
                "RequestOptions",
                "ResponseHead",
                "RetryConfig",
            ),
            "trio_mix._rest._responses": ("Response",),
            "trio_mix._session._message": ("Message",),
            "trio_mix._session._stream": ("SessionStream",),
            "trio_mix._session._subscription": ("RawSubscription", "Subscription"),
            "trio_mix._ticket": ("Ticket",),
            "trio_mix.hooks": ("Hooks",),
            "trio_mix.sse": ("ReconnectPolicy", "StreamState"),
        },
        submodules=(
            "browser",
            "errors",
            "events",
            "funcs",
            "hooks",
            "models",
            "relay",
            "resources",
            "sse",
            "testing",
        ),
        eager=("__version__",),
    )
