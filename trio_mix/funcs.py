"""Every operation of the API as a function that returns `Ok` or `Err` instead of raising.

The functions are named ``<resource>_<operation>`` and take the client first, then exactly the
method's keyword arguments. They return ``Ok(value)`` or ``Err(error)``; a cancellation, a bug and
an exception of the caller's own functions are raised.

Example::

    async with MixCore() as core:
        match await funcs.sessions_get(core, id="s1"):
            case Ok(value=session):
                print(session.title)
            case Err(error=error):
                print(error)
"""

from __future__ import annotations

import functools
import inspect
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    TypeAlias,
    TypeVar,
)

import attrs

from trio_mix.errors import (
    ConfigurationError,
    ConnectionFailed,
    ErrorResponse,
    MixDefaultError,
    ProtocolError,
    RequestTimeout,
    ResponseValidationError,
    StreamClosed,
)
from trio_mix.resources._authentication import Authentication, Health, Internal
from trio_mix.resources._base import Resource
from trio_mix.resources._files import Files
from trio_mix.resources._interaction import Notifications, Permissions
from trio_mix.resources._messages import Messages
from trio_mix.resources._preferences import Preferences
from trio_mix.resources._sessions import Sessions
from trio_mix.resources._streaming import Streaming
from trio_mix.resources._system import System, Tools

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from trio_mix._rest._core import MixCore

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
E_co = TypeVar("E_co", bound=Exception, covariant=True)
R = TypeVar("R", bound=Resource)
P = ParamSpec("P")


@attrs.frozen
class Ok(Generic[T_co]):
    """A success."""

    value: T_co
    """The operation's value."""
    ok: Literal[True] = attrs.field(default=True, init=False, repr=False)
    """Always true."""


@attrs.frozen
class Err(Generic[E_co]):
    """A failure."""

    error: E_co
    """The exception that the method would have raised."""
    ok: Literal[False] = attrs.field(default=False, init=False, repr=False)
    """Always false."""


OperationError: TypeAlias = (
    ErrorResponse
    | ResponseValidationError
    | MixDefaultError
    | ConnectionFailed
    | RequestTimeout
    | ConfigurationError
)
"""The errors of an operation."""

StreamOperationError: TypeAlias = OperationError | ProtocolError | StreamClosed
"""The errors of opening an event stream."""

Result: TypeAlias = Ok[T] | Err[OperationError]
"""The result of a function."""

_ERRORS: Final = (
    ErrorResponse,
    ResponseValidationError,
    MixDefaultError,
    ConnectionFailed,
    RequestTimeout,
    ConfigurationError,
)
_STREAM_ERRORS: Final = (*_ERRORS, ProtocolError, StreamClosed)

_names: Final = ["Err", "Ok", "OperationError", "Result", "StreamOperationError"]
"""What this module exports; each operation's function is added when it is made."""


def _function(
    resource: type[R], method: Callable[Concatenate[R, P], Awaitable[T]]
) -> Callable[Concatenate[MixCore, P], Coroutine[Any, Any, Ok[T] | Err[OperationError]]]:
    @functools.wraps(method)
    async def function(
        core: MixCore, /, *args: P.args, **kwargs: P.kwargs
    ) -> Ok[T] | Err[OperationError]:
        try:
            return Ok(await method(resource(core), *args, **kwargs))
        except _ERRORS as error:
            # The method was a checkpoint before it raised.
            return Err(error)  # noqa: ASYNC910

    _present(function, resource, method, "Ok[{}] | Err[OperationError]")
    return function


def _stream_function(
    resource: type[R], method: Callable[Concatenate[R, P], Awaitable[T]]
) -> Callable[Concatenate[MixCore, P], Coroutine[Any, Any, Ok[T] | Err[StreamOperationError]]]:
    @functools.wraps(method)
    async def function(
        core: MixCore, /, *args: P.args, **kwargs: P.kwargs
    ) -> Ok[T] | Err[StreamOperationError]:
        try:
            return Ok(await method(resource(core), *args, **kwargs))
        except _STREAM_ERRORS as error:
            # The method was a checkpoint before it raised.
            return Err(error)  # noqa: ASYNC910

    _present(function, resource, method, "Ok[{}] | Err[StreamOperationError]")
    return function


def _present(function: Any, resource: type, method: Any, returns: str) -> None:
    """Give the function its name, signature and docstring."""
    function.__name__ = function.__qualname__ = f"{resource.__name__.lower()}_{method.__name__}"
    _names.append(function.__name__)
    function.__module__ = __name__
    signature = inspect.signature(method)
    client = inspect.Parameter("core", inspect.Parameter.POSITIONAL_ONLY, annotation="MixCore")
    own = [client, *list(signature.parameters.values())[1:]]
    value = str(signature.return_annotation)
    value = {"EventStreamRequest": "EventStream", "FileRequest": "bytes"}.get(value, value)
    annotation = returns.format(value.removeprefix("builtins."))
    function.__signature__ = signature.replace(parameters=own, return_annotation=annotation)
    function.__doc__ = (method.__doc__ or "").replace("        Raises:", "        In `Err`:")
    del function.__wrapped__


authentication_store_api_key: Final = _function(Authentication, Authentication.store_api_key)
authentication_handle_oauth_callback: Final = _function(
    Authentication, Authentication.handle_oauth_callback
)
authentication_start_oauth_flow: Final = _function(Authentication, Authentication.start_oauth_flow)
authentication_get_auth_status: Final = _function(Authentication, Authentication.get_auth_status)
authentication_validate_preferred_provider: Final = _function(
    Authentication, Authentication.validate_preferred_provider
)
authentication_delete_credentials: Final = _function(
    Authentication, Authentication.delete_credentials
)
authentication_get_oauth_health: Final = _function(Authentication, Authentication.get_oauth_health)
authentication_refresh_oauth_tokens: Final = _function(
    Authentication, Authentication.refresh_oauth_tokens
)

files_list: Final = _function(Files, Files.list)
files_upload: Final = _function(Files, Files.upload)
files_get: Final = _function(Files, Files.get)
files_download: Final = _function(Files, Files.download)
files_delete: Final = _function(Files, Files.delete)

health_get_oauth_health: Final = _function(Health, Health.get_oauth_health)

internal_refresh_oauth_tokens: Final = _function(Internal, Internal.refresh_oauth_tokens)

messages_get_history: Final = _function(Messages, Messages.get_history)
messages_cancel_processing: Final = _function(Messages, Messages.cancel_processing)
messages_get_session: Final = _function(Messages, Messages.get_session)
messages_send: Final = _function(Messages, Messages.send)

notifications_respond: Final = _function(Notifications, Notifications.respond)

permissions_grant: Final = _function(Permissions, Permissions.grant)
permissions_deny: Final = _function(Permissions, Permissions.deny)

preferences_get: Final = _function(Preferences, Preferences.get)
preferences_update: Final = _function(Preferences, Preferences.update)
preferences_get_providers: Final = _function(Preferences, Preferences.get_providers)
preferences_reset: Final = _function(Preferences, Preferences.reset)

sessions_list: Final = _function(Sessions, Sessions.list)
sessions_create: Final = _function(Sessions, Sessions.create)
sessions_get: Final = _function(Sessions, Sessions.get)
sessions_delete: Final = _function(Sessions, Sessions.delete)
sessions_fork: Final = _function(Sessions, Sessions.fork)
sessions_export_session: Final = _function(Sessions, Sessions.export_session)
sessions_rewind_session: Final = _function(Sessions, Sessions.rewind_session)
sessions_update_session_callbacks: Final = _function(Sessions, Sessions.update_session_callbacks)

streaming_stream_events: Final = _stream_function(Streaming, Streaming.stream_events)
streaming_send_streaming_message: Final = _function(Streaming, Streaming.send_streaming_message)

system_list_commands: Final = _function(System, System.list_commands)
system_get_command: Final = _function(System, System.get_command)
system_list_mcp_servers: Final = _function(System, System.list_mcp_servers)
system_health_check: Final = _function(System, System.health_check)
system_get_system_info: Final = _function(System, System.get_system_info)

tools_get_tools_status: Final = _function(Tools, Tools.get_tools_status)
tools_list_llm_tools: Final = _function(Tools, Tools.list_llm_tools)
tools_get_tool_credentials_status: Final = _function(Tools, Tools.get_tool_credentials_status)

if TYPE_CHECKING:  # type checkers take every name without an underscore as exported
    __all__: list[str]
else:
    __all__ = list(_names)
