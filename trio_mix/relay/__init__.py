"""The relay: replay, fan-out and durable turns in front of a Mix server.

Needs the extra ``trio-mix[relay]``.
"""

from trio_mix._public import publish
from trio_mix.relay._grants import Auth as Auth
from trio_mix.relay._grants import Grant as Grant
from trio_mix.relay._log import Retention as Retention
from trio_mix.relay._relay import Relay as Relay
from trio_mix.relay._sqlite import SqliteLog as SqliteLog

__all__ = ["Auth", "Grant", "Relay", "Retention", "SqliteLog"]

publish(globals())
