"""The differences between API generations and versions.

Rules:

1. Every difference between generations is a property here; no other module compares names.
2. A version outside its generation is refused, so that a test cannot use a server that never
   existed.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import attrs

from trio_mix.errors import ConfigurationError

Api: TypeAlias = Literal["pipeline-oldest", "pipeline", "blocking", "async"]
"""A generation of the Mix API: how a message is sent and how the reply arrives."""

BUSY: Final = "session is currently processing another request"

_Version: TypeAlias = tuple[int, ...]

_SPAN: Final[dict[str, tuple[_Version, _Version, str]]] = {
    # generation: first version, last version, default version
    "pipeline-oldest": ((0, 1, 0), (0, 5, 99), "0.5.0"),
    "pipeline": ((0, 6, 0), (0, 6, 99), "0.6.9"),
    "blocking": ((0, 7, 0), (0, 7, 3), "0.7.3"),
    "async": ((0, 7, 4), (0, 99, 99), "0.11.4"),
}


@attrs.frozen(kw_only=True)
class Traits:
    """The behaviour of one server version."""

    api: Api
    """The generation."""
    version: str
    """The version that ``/health`` reports."""
    number: _Version
    """The version as numbers, for comparison."""
    names_users: bool
    """Whether a stored user message is announced by ``user_message_created``."""

    @property
    def rest(self) -> bool:
        """Whether REST and ``/health`` exist."""
        return self.api != "pipeline-oldest"

    @property
    def pipeline(self) -> bool:
        """Whether open streams run the messages."""
        return self.api in ("pipeline", "pipeline-oldest")

    @property
    def frame_fields(self) -> bool:
        """Whether frames carry ``id`` and ``retry``."""
        return self.api != "pipeline-oldest"

    @property
    def tool_execution_events(self) -> bool:
        """Whether the start and the end of a tool are sent."""
        return self.api != "pipeline-oldest"

    @property
    def tool_execution_names(self) -> bool:
        """Whether these events name the tool."""
        return self.api != "async"

    @property
    def first_tool_status(self) -> str:
        """The status in the first ``tool`` event of a call."""
        return "running" if self.rest else "completed"

    @property
    def reasoning_duration(self) -> bool:
        """Whether ``complete`` has the time that the reasoning took."""
        return self.api != "pipeline-oldest"

    @property
    def busy_text(self) -> str:
        """The error of a stream whose session runs another message."""
        start = "failed to process events" if self.rest else "Failed to start agent"
        return f"{start}: {BUSY}"

    @property
    def unknown_session_text(self) -> str:
        """The error of a stream that is opened for an unknown session, with its id to be filled."""
        if not self.rest:
            return "Failed to set session: session not found: sql: no rows in result set"
        return "session not found: {}"

    @property
    def deltas(self) -> bool:
        """Whether text and reasoning are sent in pieces before ``complete``."""
        return self.api != "pipeline-oldest"

    @property
    def message_ids(self) -> bool:
        """Whether events name their message, and sub-agents' events are sent."""
        return self.api == "async"

    @property
    def tool_use_events(self) -> bool:
        """Whether tool calls are sent as ``tool_use_*`` instead of ``tool``."""
        return self.number >= (0, 11)

    @property
    def tool_parameter_delta(self) -> bool:
        """Whether ``tool_parameter_delta`` is sent beside the ``tool`` events."""
        return (0, 7) <= self.number < (0, 11)

    @property
    def notifications(self) -> bool:
        """Whether the agent can ask the user through ``notification``."""
        return self.number >= (0, 11, 1)

    @property
    def session_events(self) -> bool:
        """Whether created and deleted sessions are announced on every stream."""
        return self.number >= (0, 6, 9)

    @property
    def export(self) -> bool:
        """Whether a session can be exported and rewound."""
        return self.number >= (0, 6, 9)

    @property
    def browser_mode(self) -> bool:
        """Whether a new session must name its browser mode."""
        return self.number >= (0, 11)

    @property
    def errors_twice(self) -> bool:
        """Whether a failure after the 202 is sent twice."""
        return self.api == "async"

    @property
    def rate_limit_ends_turn(self) -> bool:
        """Whether ``rate_limit_error`` is the last event of its turn."""
        return self.pipeline

    @property
    def unknown_session_status(self) -> int:
        """The status for sending to an unknown session."""
        return 500 if self.api == "async" and self.number < (0, 8) else 404

    def tool(self, name: str) -> str:
        """Return a core tool's name as this version spells it: ``bash`` became ``Bash``."""
        if self.tool_use_events and name.islower():
            return "".join(part.capitalize() for part in name.split("_"))
        return name

    def check_replay(self, *, replay: bool) -> None:
        """Check that the version can replay events, if it must.

        Raises:
          ConfigurationError: it cannot.
        """
        if replay and not self.frame_fields:
            raise ConfigurationError(
                "replay=True needs event ids, which the oldest servers do not send"
            )


def traits_for(api: Api, version: str | None = None, *, names_users: bool | None = None) -> Traits:
    """Return the traits of ``version``, or of the generation's default version.

    ``names_users`` is that of `Traits`; None: as the generation usually does.

    Raises:
      ConfigurationError: the generation is unknown, or the version does not belong to it.
    """
    if api not in _SPAN:
        raise ConfigurationError(f"api must be one of {', '.join(map(repr, _SPAN))}, not {api!r}")
    first, last, usual = _SPAN[api]
    text = usual if version is None else version
    try:
        number = tuple(int(part) for part in text.split("."))
    except ValueError:
        raise ConfigurationError(f"version must look like {usual!r}, not {text!r}") from None
    if not first <= number <= last:
        raise ConfigurationError(
            f"{text} is not a version of the {api!r} generation; use {usual!r}, for example"
        )
    named = api == "async" if names_users is None else names_users
    return Traits(api=api, version=text, number=number, names_users=named)
