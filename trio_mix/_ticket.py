"""`Ticket`: a message as a program stores it, so that another process can find out its outcome."""

from __future__ import annotations

import json
from typing import Final, Literal, TypeAlias, cast

import attrs
import msgspec

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
        found = cast("dict[str, object]", fields)
        version = found.get("version")
        if isinstance(version, int) and version > _VERSION:
            raise ConfigurationError(
                f"The ticket has version {version}, and this trio_mix reads versions up to "
                f"{_VERSION}: update trio_mix."
            )
        baseline = found.get("baseline")
        _check_whole(found, cls)
        _check_whole(baseline, Baseline)
        try:
            return msgspec.convert({**found, "_baseline": baseline}, cls)
        except msgspec.ValidationError as error:
            wrong = str(error).rpartition("`$.")[2].rstrip("`").removeprefix("_")
            # Without the rest of the error, which may quote the value.
            raise _wrong(f"`{wrong}` has a value that no ticket has") from None

    @property
    def _too_large(self) -> bool:
        """Whether its JSON, with the ids that become known later, may be larger than 8 KiB."""
        later = 2 * LONGEST_ID
        return len(self.to_json()) - len(json.dumps(self.text)) > _MOST_BESIDE_TEXT - later


def _check_whole(saved: object, kind: type[attrs.AttrsInstance]) -> None:
    """Refuse a saved object without one of the fields of its class, each of which is written."""
    for field in attrs.fields(kind):
        if not isinstance(saved, dict) or field.alias not in saved:
            raise _wrong(f"`{field.alias}` is missing")


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"The ticket cannot be read, because {what}: pass what `Ticket.to_json` returned."
    )
