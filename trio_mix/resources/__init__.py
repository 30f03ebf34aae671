"""The API's operations, grouped by their tags; each group is an attribute of `Mix`."""

from typing import TYPE_CHECKING

from trio_mix._lazy import lazy

if TYPE_CHECKING:
    from trio_mix._rest._event_stream import EventStream as EventStream
    from trio_mix._rest._event_stream import EventStreamRequest as EventStreamRequest
    from trio_mix._rest._file_download import FileRequest as FileRequest
    from trio_mix._rest._file_download import FileStream as FileStream
    from trio_mix.resources._authentication import Authentication as Authentication
    from trio_mix.resources._authentication import Health as Health
    from trio_mix.resources._authentication import Internal as Internal
    from trio_mix.resources._base import Resource as Resource
    from trio_mix.resources._files import Files as Files
    from trio_mix.resources._interaction import Notifications as Notifications
    from trio_mix.resources._interaction import Permissions as Permissions
    from trio_mix.resources._messages import Messages as Messages
    from trio_mix.resources._preferences import Preferences as Preferences
    from trio_mix.resources._sessions import Sessions as Sessions
    from trio_mix.resources._streaming import Streaming as Streaming
    from trio_mix.resources._system import System as System
    from trio_mix.resources._system import Tools as Tools

    __all__: list[str]
else:
    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {
            "trio_mix._rest._event_stream": ("EventStream", "EventStreamRequest"),
            "trio_mix._rest._file_download": ("FileRequest", "FileStream"),
            "trio_mix.resources._authentication": ("Authentication", "Health", "Internal"),
            "trio_mix.resources._base": ("Resource",),
            "trio_mix.resources._files": ("Files",),
            "trio_mix.resources._interaction": ("Notifications", "Permissions"),
            "trio_mix.resources._messages": ("Messages",),
            "trio_mix.resources._preferences": ("Preferences",),
            "trio_mix.resources._sessions": ("Sessions",),
            "trio_mix.resources._streaming": ("Streaming",),
            "trio_mix.resources._system": ("System", "Tools"),
        },
    )
