"""The relay: replay, fan-out and durable turns in front of a Mix server.

Needs the extra ``trio-mix[relay]``.
"""

from trio_mix._public import publish
from trio_mix.relay._client import RelayClient as RelayClient
from trio_mix.relay._client import RelayClientStatistics as RelayClientStatistics
from trio_mix.relay._client_messages import RelayMessage as RelayMessage
from trio_mix.relay._client_subscription import RelaySubscription as RelaySubscription
from trio_mix.relay._errors import CommandRefused as CommandRefused
from trio_mix.relay._errors import Forbidden as Forbidden
from trio_mix.relay._errors import LogBusy as LogBusy
from trio_mix.relay._errors import LogCorrupt as LogCorrupt
from trio_mix.relay._errors import LogError as LogError
from trio_mix.relay._errors import LogFull as LogFull
from trio_mix.relay._errors import LogReadOnly as LogReadOnly
from trio_mix.relay._errors import LogTooNew as LogTooNew
from trio_mix.relay._errors import RelayError as RelayError
from trio_mix.relay._errors import SessionUnknown as SessionUnknown
from trio_mix.relay._errors import Unauthorized as Unauthorized
from trio_mix.relay._grants import Auth as Auth
from trio_mix.relay._grants import Grant as Grant
from trio_mix.relay._log import Retention as Retention
from trio_mix.relay._redis import RedisLog as RedisLog
from trio_mix.relay._relay import Relay as Relay
from trio_mix.relay._sqlite import SqliteLog as SqliteLog

__all__ = [
    "Auth",
    "CommandRefused",
    "Forbidden",
    "Grant",
    "LogBusy",
    "LogCorrupt",
    "LogError",
    "LogFull",
    "LogReadOnly",
    "LogTooNew",
    "RedisLog",
    "Relay",
    "RelayClient",
    "RelayClientStatistics",
    "RelayError",
    "RelayMessage",
    "RelaySubscription",
    "Retention",
    "SessionUnknown",
    "SqliteLog",
    "Unauthorized",
]

publish(globals())
