"""The exceptions that trio_mix raises.

Callers mask credentials in a text before they pass it to an exception. The tree::

    TrioMixError
    ├── ConfigurationError      an argument or environment variable is invalid
    ├── UsageError              the API was used in the wrong order
    ├── MixError                the server responded with an error
    │   ├── ErrorResponse           in the API's error format
    │   ├── ResponseValidationError a success whose body does not match the API
    │   │   └── ResponseTooLarge
    │   └── MixDefaultError         any other 4xx or 5xx
    │       └── NoSuchOperation         the server does not have the operation
    ├── TransportError          no complete response
    │   ├── ConnectionFailed
    │   └── RequestTimeout
    ├── StreamError             the stream of a session
    │   ├── StreamClosed
    │   ├── StreamAlreadyOpen
    │   ├── SessionNotFound
    │   ├── ReconnectFailed
    │   └── ProtocolError
    └── MessageError            one sent message
        ├── AgentError
        ├── MessageInterrupted
        ├── MessageRejected
        ├── MessageNotFinished
        ├── ConsumerTooSlow
        └── ReplyTooLarge
"""

from trio_mix._public import publish
from trio_mix.errors._base import ConfigurationError as ConfigurationError
from trio_mix.errors._base import TrioMixError as TrioMixError
from trio_mix.errors._base import UsageError as UsageError
from trio_mix.errors._base import clone_error as clone_error
from trio_mix.errors._requests import ConnectionFailed as ConnectionFailed
from trio_mix.errors._requests import ErrorResponse as ErrorResponse
from trio_mix.errors._requests import MixDefaultError as MixDefaultError
from trio_mix.errors._requests import MixError as MixError
from trio_mix.errors._requests import NoSuchOperation as NoSuchOperation
from trio_mix.errors._requests import RequestInfo as RequestInfo
from trio_mix.errors._requests import RequestTimeout as RequestTimeout
from trio_mix.errors._requests import ResponseTooLarge as ResponseTooLarge
from trio_mix.errors._requests import ResponseValidationError as ResponseValidationError
from trio_mix.errors._requests import RESTError as RESTError
from trio_mix.errors._requests import TransportError as TransportError
from trio_mix.errors._streams import AgentError as AgentError
from trio_mix.errors._streams import ConsumerTooSlow as ConsumerTooSlow
from trio_mix.errors._streams import MessageError as MessageError
from trio_mix.errors._streams import MessageInterrupted as MessageInterrupted
from trio_mix.errors._streams import MessageNotFinished as MessageNotFinished
from trio_mix.errors._streams import MessageRejected as MessageRejected
from trio_mix.errors._streams import ProtocolError as ProtocolError
from trio_mix.errors._streams import ReconnectFailed as ReconnectFailed
from trio_mix.errors._streams import ReplyTooLarge as ReplyTooLarge
from trio_mix.errors._streams import SessionNotFound as SessionNotFound
from trio_mix.errors._streams import StreamAlreadyOpen as StreamAlreadyOpen
from trio_mix.errors._streams import StreamClosed as StreamClosed
from trio_mix.errors._streams import StreamError as StreamError

__all__ = [
    "AgentError",
    "ConfigurationError",
    "ConnectionFailed",
    "ConsumerTooSlow",
    "ErrorResponse",
    "MessageError",
    "MessageInterrupted",
    "MessageNotFinished",
    "MessageRejected",
    "MixDefaultError",
    "MixError",
    "NoSuchOperation",
    "ProtocolError",
    "RESTError",
    "ReconnectFailed",
    "ReplyTooLarge",
    "RequestInfo",
    "RequestTimeout",
    "ResponseTooLarge",
    "ResponseValidationError",
    "SessionNotFound",
    "StreamAlreadyOpen",
    "StreamClosed",
    "StreamError",
    "TransportError",
    "TrioMixError",
    "UsageError",
]

publish(globals())
