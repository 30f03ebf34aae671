"""trio_mix: the Trio-native client for Mix agent servers.

A message is sent inside a scope, and its events come back in it::

    async with Mix() as mix, mix.open_session(title="Demo") as stream:
        async with stream.send("List the files here") as message:
            async for event in message:
                ...
"""

from typing import TYPE_CHECKING

from trio_mix._version import __version__ as __version__

if TYPE_CHECKING:
    from trio_mix import browser as browser
    from trio_mix import errors as errors
    from trio_mix import events as events
    from trio_mix import funcs as funcs
    from trio_mix import hooks as hooks
    from trio_mix import models as models
    from trio_mix import sse as sse
    from trio_mix import testing as testing
    from trio_mix._message import Message as Message
    from trio_mix._mix import Mix as Mix
    from trio_mix._rest._core import MixCore as MixCore
    from trio_mix._rest._options import BackoffStrategy as BackoffStrategy
    from trio_mix._rest._options import RequestOptions as RequestOptions
    from trio_mix._rest._options import RetryConfig as RetryConfig
    from trio_mix._session._subscription import Subscription as Subscription
    from trio_mix._stream import SessionStream as SessionStream
    from trio_mix._turns._reply import Reply as Reply
    from trio_mix._turns._reply import ToolCall as ToolCall
    from trio_mix.hooks import Hooks as Hooks
    from trio_mix.sse import ReconnectPolicy as ReconnectPolicy
    from trio_mix.sse import StreamState as StreamState
else:
    from importlib import import_module

    # Imported when they are first asked for: a program that imports trio_mix for one of them, or
    # only says so in a type, does not pay for all of them.
    _SUBMODULES = ("browser", "errors", "events", "funcs", "hooks", "models", "sse", "testing")
    _HOMES = {
        "MixCore": "trio_mix._rest._core",
        "Message": "trio_mix._message",
        "Mix": "trio_mix._mix",
        "BackoffStrategy": "trio_mix._rest._options",
        "RequestOptions": "trio_mix._rest._options",
        "RetryConfig": "trio_mix._rest._options",
        "Reply": "trio_mix._turns._reply",
        "ToolCall": "trio_mix._turns._reply",
        "SessionStream": "trio_mix._stream",
        "Subscription": "trio_mix._session._subscription",
        "Hooks": "trio_mix.hooks",
        "ReconnectPolicy": "trio_mix.sse",
        "StreamState": "trio_mix.sse",
    }

    def __getattr__(name: str) -> object:
        """Import a public name from where it lives."""
        if name in _SUBMODULES:
            value = import_module(f"{__name__}.{name}")
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """Return the public names, imported yet or not."""
        return sorted({*globals(), *_SUBMODULES, *_HOMES})
