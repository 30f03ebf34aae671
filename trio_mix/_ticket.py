"""`Ticket`: a message as a program stores it, so that another process can find out its outcome."""

from __future__ import annotations

import json
from typing import Final, Literal, TypeAlias, cast, get_args

import attrs

from trio_mix._public import public
from trio_mix.errors import ConfigurationError
from trio_mix.models._words import ThinkingLevel  # noqa: TC001 - for typing.get_type_hints

TicketState: TypeAlias = Literal["prepared", "posting", "running", "finished", "failed"]
"""How far a message has come, as far as its sender knows: see `Ticket.state`."""

_VERSION: Final = 1
_MOST_BESIDE_TEXT: Final = 8192
"""The largest JSON of a ticket, in bytes without its text."""
LONGEST_ID: Final = 512
"""The longest id that becomes known after the message was sent, in bytes of JSON."""
_LEVELS: Final = (None, "off", "basic", "medium", "maximum")


@attrs.frozen(kw_only=True)
class Baseline:
    """The messages that a session had stored before a message was sent."""

    known: tuple[str, ...] = ()
    """The ids of the last user messages, oldest first."""
    older: bool = False
    """Whether there were more user messages, before these."""
    last: str | None = None
    """The id of the last message; None if there was none."""
    equal: int = 0
    """How many messages with an equal text may have been stored since, which are not this one."""


@public("trio_mix")
@attrs.frozen(kw_only=True)
class Ticket:
    """A message that can be sent, or whose outcome can be found out, by another process.

    Returned by `SessionStream.prepare`. Store `to_json` where the process that continues will find
    it, for example in a file; it has no credentials, but the text of the message.
    """

    session_id: str
    """The id of the session."""
    text: str = attrs.field(repr=False)
    """The text of the message."""
    state: TicketState = "prepared"
    """How far the message has come, as far as its sender knew when the ticket was made:

    ``"prepared"``: none of it was sent. ``"posting"``: it may have been sent. ``"running"``: the
    server works on it, or did. ``"finished"``: it has a reply. ``"failed"``: it has ended without
    one, or the server has refused it."""
    ticket_id: str
    """A random id: the same in all states of a ticket, different for two messages."""
    recoverable: bool = True
    """Whether the server stores messages that can be read. If it does not, the outcome of a message
    that may have been sent is unknown to every other process."""
    user_message_id: str | None = None
    """The id of the stored user message, once it is known."""
    message_id: str | None = None
    """The id of the last assistant message of a finished turn, if the server sends it."""
    plan_mode: bool = False
    """Whether the agent must only make a plan."""
    thinking_level: ThinkingLevel | None = None
    """The thinking level, on async servers."""
    max_steps: int | None = None
    """How often the agent may use tools, on async servers."""
    media: tuple[str, ...] = ()
    """Names of files of the session, on pipeline servers."""
    apps: tuple[str, ...] = ()
    """Names of apps, on pipeline servers."""
    allow_shell: bool = False
    """Whether the text may start with ``!``."""
    version: int = _VERSION
    """The version of the format."""
    _baseline: Baseline = attrs.field(factory=Baseline, alias="baseline", repr=False)

    def to_json(self) -> str:
        """Return the ticket as a line of ASCII JSON: its text, escaped, and at most 8 KiB more."""
        fields = attrs.asdict(self, filter=lambda field, _: field.name != "_baseline")
        return json.dumps({**fields, "baseline": attrs.asdict(self._baseline)})

    @classmethod
    def from_json(cls, saved: str | bytes) -> Ticket:
        """Return the ticket that `to_json` has written.

        Args:
          saved: the JSON, as text or as UTF-8.

        Raises:
          ConfigurationError: it is not a whole ticket, or a newer version of trio_mix has made it.
        """
        try:
            fields: object = json.loads(saved)
        except (ValueError, RecursionError) as exc:
            raise ConfigurationError(
                "The ticket cannot be read, because it is not valid JSON: it may be cut short. "
                "Store it completely before the message is sent (write another file and rename it)."
            ) from exc
        if not isinstance(fields, dict):
            raise _wrong("it is not a JSON object")
        read = _Reader(cast("dict[str, object]", fields))
        version = read.number("version")
        if version > _VERSION:
            raise ConfigurationError(
                f"The ticket has version {version}, and this trio_mix reads versions up to "
                f"{_VERSION}: update trio_mix."
            )
        state = read.text("state")
        level = read.text_or_none("thinking_level")
        if state not in get_args(TicketState) or level not in _LEVELS:
            raise _wrong("`state` or `thinking_level` has an unknown value")
        noted = read.table("baseline")
        return cls(
            session_id=read.text("session_id"),
            text=read.text("text"),
            state=cast("TicketState", state),
            ticket_id=read.text("ticket_id"),
            recoverable=read.flag("recoverable"),
            user_message_id=read.text_or_none("user_message_id"),
            message_id=read.text_or_none("message_id"),
            plan_mode=read.flag("plan_mode"),
            thinking_level=cast("ThinkingLevel | None", level),
            max_steps=read.number_or_none("max_steps"),
            media=read.texts("media"),
            apps=read.texts("apps"),
            allow_shell=read.flag("allow_shell"),
            version=version,
            baseline=Baseline(
                known=noted.texts("known"),
                older=noted.flag("older"),
                last=noted.text_or_none("last"),
                equal=noted.number("equal"),
            ),
        )

    @property
    def _too_large(self) -> bool:
        """Whether its JSON, with the ids that become known later, may be larger than 8 KiB."""
        later = 2 * LONGEST_ID
        return len(self.to_json()) - len(json.dumps(self.text)) > _MOST_BESIDE_TEXT - later

    @property
    def _is_command(self) -> bool:
        """Whether the text is a command, which servers run without storing it."""
        return self.text.lstrip().startswith(("/", "!"))


@attrs.frozen
class _Reader:
    """Reads the fields of a JSON object, each with its type."""

    fields: dict[str, object]

    def text(self, name: str) -> str:
        value = self.fields.get(name)
        if isinstance(value, str):
            return value
        raise _wrong(f"`{name}` is missing or not a text")

    def text_or_none(self, name: str) -> str | None:
        return None if self._is_null(name) else self.text(name)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.fields.get(name)
        if not isinstance(value, list):
            raise _wrong(f"`{name}` is missing or not a list")
        items = tuple(item for item in cast("list[object]", value) if isinstance(item, str))
        if len(items) < len(cast("list[object]", value)):
            raise _wrong(f"`{name}` contains something other than texts")
        return items

    def flag(self, name: str) -> bool:
        value = self.fields.get(name)
        if isinstance(value, bool):
            return value
        raise _wrong(f"`{name}` is missing or neither true nor false")

    def number(self, name: str) -> int:
        value = self.fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise _wrong(f"`{name}` is missing or not a number")

    def number_or_none(self, name: str) -> int | None:
        return None if self._is_null(name) else self.number(name)

    def table(self, name: str) -> _Reader:
        value = self.fields.get(name)
        if isinstance(value, dict):
            return _Reader(cast("dict[str, object]", value))
        raise _wrong(f"`{name}` is missing or not an object")

    def _is_null(self, name: str) -> bool:
        return name in self.fields and self.fields[name] is None


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"The ticket cannot be read, because {what}: pass what `Ticket.to_json` returned."
    )
