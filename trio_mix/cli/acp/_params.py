"""The parameters of the protocol's requests, as far as the agent uses them.

Members that are not listed here are ignored, as the protocol demands.
"""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import msgspec

from trio_mix.cli.acp._peer import INVALID_PARAMS, RPCError


class _Params(msgspec.Struct, rename="camel", frozen=True):
    """Parameters with names in camel case."""


class Form(_Params, frozen=True):
    """Whether a client shows forms: an object, if it does."""

    form: dict[str, object] | None = None


class ClientSession(_Params, frozen=True):
    """What a client understands in a session."""

    notices: dict[str, object] | None = None


class ClientCapabilities(_Params, frozen=True):
    """What a client can do for the agent."""

    elicitation: Form | None = None
    session: ClientSession | None = None


class Initialize(_Params, frozen=True):
    """``initialize``."""

    protocol_version: int
    client_capabilities: ClientCapabilities = ClientCapabilities()


class NewSession(_Params, frozen=True):
    """``session/new``."""

    cwd: str
    mcp_servers: list[object] = []


class OfSession(_Params, frozen=True):
    """A request or notification about a session."""

    session_id: str


class SetMode(OfSession, frozen=True):
    """``session/set_mode``."""

    mode_id: str


class Text(_Params, tag="text", frozen=True):
    """A block of text."""

    text: str


class ResourceLink(_Params, tag="resource_link", frozen=True):
    """A link to a resource that the agent may read."""

    uri: str
    name: str


class Resource(_Params, frozen=True):
    """A resource with its content."""

    uri: str
    text: str | None = None


class EmbeddedResource(_Params, tag="resource", frozen=True):
    """A resource that is part of the prompt."""

    resource: Resource


Block: TypeAlias = Text | ResourceLink | EmbeddedResource


class Prompt(OfSession, frozen=True):
    """``session/prompt``."""

    prompt: list[Block]


ParamsT = TypeVar("ParamsT", bound=_Params)


def parse_params(params: object, kind: type[ParamsT]) -> ParamsT:
    """Return the parameters as an object of a class.

    Raises:
      RPCError: they do not match; the message names the member.
    """
    try:
        return msgspec.convert(params, kind)
    except msgspec.ValidationError as error:
        raise RPCError(INVALID_PARAMS, str(error).replace("`$", "`params")) from None


def prompt_text(blocks: list[Block]) -> str:
    """Return a prompt as the text of one message.

    Raises:
      RPCError: a block has no text.
    """
    parts: list[str] = []
    for block in blocks:
        match block:
            case Text(text=text):
                parts.append(text)
            case ResourceLink(uri=uri, name=name):
                parts.append(f"[{name}]({uri})")
            case EmbeddedResource(resource=Resource(uri=uri, text=str(text))):
                parts.append(f"\n\n{_fenced(uri, text)}\n\n")
            case EmbeddedResource(resource=Resource(uri=uri)):
                raise RPCError(INVALID_PARAMS, f"the resource {uri[:200]} is no text")
    text = "".join(parts).strip()
    if not text:
        raise RPCError(INVALID_PARAMS, "the prompt has no text")
    if text.startswith("!"):
        raise RPCError(
            INVALID_PARAMS,
            "old servers run a text that begins with '!' as a shell command: put another character"
            " before it",
        )
    return text


def _fenced(uri: str, text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{uri}\n{fence}\n{text}\n{fence}"
