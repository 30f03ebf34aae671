"""Options that several commands share, and the groups of the help page."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import attrs
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from trio_mix.cli._client import Connection
from trio_mix.cli._headers import read_headers
from trio_mix.cli._profiles import Profile, read_settings
from trio_mix.cli._server_names import with_scheme
from trio_mix.cli._tokens import token_reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from cyclopts import App

MESSAGES: Final = Group("Messages", sort_key=1)
RESOURCES: Final = Group("Resources of the server", sort_key=2)
SERVERS: Final = Group("Servers: diagnose, run, record and replay", sort_key=3)
SHELL: Final = Group("This program", sort_key=4)
COMMON: Final = Group("Common options", sort_key=90)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Debug:
    """The options of every command."""

    debug: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            group=COMMON,
            env_var="TRIO_MIX_DEBUG",
            help="Show the traceback of an error.",
        ),
    ] = False


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Common(Debug):
    """The options of every command that connects to a server."""

    server: Annotated[
        str | None,
        Parameter(
            name=["--server", "--server-url"],
            group=COMMON,
            help="The Mix server's address, or HOST:PORT (default: that of --profile, else "
            "$MIX_SERVER_URL, else http://localhost:8088).",
        ),
    ] = None
    header: Annotated[
        tuple[str, ...],
        Parameter(
            name="--header",
            negative="",
            show_default=False,
            group=COMMON,
            help='A header of every request, as "Name: value"; @FILE reads headers from a file, '
            "one per line. Can be repeated.",
        ),
    ] = ()

    profile: Annotated[
        str | None,
        Parameter(
            name="--profile",
            group=COMMON,
            help="The profile of the settings file to use (default: $TRIO_MIX_PROFILE, else the "
            "one that the file names).",
        ),
    ] = None

    def settings(self) -> Profile | None:
        """Return the profile to use, if any.

        Raises:
          CommandUsageError: the settings file is invalid, or does not have it.
          OSError: the settings file cannot be read.
        """
        return read_settings().choose(self.profile)[0]

    def connection(self) -> Connection:
        """Return the server that the options, the environment or the profile name.

        Raises:
          CommandUsageError: a header or the settings file is invalid.
          OSError: a file with headers, or the settings file, cannot be read.
        """
        profile = self.settings()
        url, source = self.address(profile)
        headers = read_headers(self.header)
        options = (*_again("--server", self.server), *_again("--profile", self.profile))
        if profile is None or url is None or not profile.owns(url):
            return Connection(url=url, source=source, options=options, headers=headers)
        return Connection(
            url=url,
            source=source,
            options=options,
            headers={**profile.headers, **headers},
            read_token=token_reader(profile),
            token_header=profile.token_header,
        )

    def address(self, profile: Profile | None) -> tuple[str | None, str]:
        """Return the address of the server, None if nothing names one, and what names it."""
        from_profile = (profile.server, f"profile {profile.name!r}") if profile else (None, "")
        from_variable = os.environ.get("MIX_SERVER_URL", "").strip()
        for address, source in (
            (self.server, "--server"),
            from_profile if self.profile else (None, ""),
            (from_variable, "the variable MIX_SERVER_URL"),
            from_profile,
        ):
            if address:
                return with_scheme(address), source
        return None, "the default"


def _again(option: str, value: str | None) -> tuple[str, ...]:
    return () if value is None else (option, value)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Allowed:
    """The options of every command that serves HTTP: which clients and pages may use it."""

    hosts: Annotated[
        tuple[str, ...],
        Parameter(
            name="--allow-host",
            negative="",
            help="A name of this machine, as well as localhost; can be repeated.",
        ),
    ] = ()
    origins: Annotated[
        tuple[str, ...],
        Parameter(
            name="--allow-origin",
            negative="",
            help="The origin of web pages that may connect, for example http://localhost:5173; "
            "can be repeated.",
        ),
    ] = ()


NO_DEBUG: Final = Debug()
NO_COMMON: Final = Common()
NONE_ALLOWED: Final = Allowed()


def flag(text: str, *names: str) -> Parameter:
    """Describe an option without a value."""
    return Parameter(name=list(names) or None, negative="", show_default=False, help=text)


YesOption: TypeAlias = Annotated[
    bool,
    flag("Grant every permission request, and acknowledge every notification.", "--yes", "-y"),
]
GrantOption: TypeAlias = Annotated[
    tuple[str, ...],
    Parameter(
        name="--grant",
        negative="",
        show_default=False,
        help="Grant the permission requests of this tool; may be repeated.",
    ),
]
JsonlOption: TypeAlias = Annotated[bool, flag("Print one JSON object per line.", "--jsonl")]
ApiOption: TypeAlias = Annotated[
    Literal["async", "blocking", "pipeline", "pipeline-oldest"],
    Parameter(name="--api", help="The API generation of the bundled server."),
]
HostOption: TypeAlias = Annotated[
    str,
    Parameter(
        name="--host",
        help="The address to bind; any address except loopback admits the network, "
        "without a password.",
    ),
]
PortOption: TypeAlias = Annotated[
    int,
    Parameter(
        name="--port", validator=Number(gte=0, lte=65535), help="The port; 0 takes a free one."
    ),
]
DemoApiOption: TypeAlias = Annotated[
    Literal["async", "blocking", "pipeline"],
    Parameter(name="--api", help="The API generation of the bundled server."),
]
ContinueOption: TypeAlias = Annotated[
    bool,
    flag("Continue the session that was used last on this server.", "--continue", "-c"),
]
ModelOption: TypeAlias = Annotated[
    str | None,
    Parameter(
        name="--model",
        help="The model of a new session, as PROVIDER/MODEL (API from 0.11).",
    ),
]
SystemOption: TypeAlias = Annotated[
    str | None,
    Parameter(
        name="--system",
        allow_leading_hyphen=True,
        help="What is added to the system prompt of a new session; @FILE reads it from a file.",
    ),
]
AttachOption: TypeAlias = Annotated[
    tuple[Path, ...],
    Parameter(
        name="--attach",
        negative="",
        show_default=False,
        help="A file to upload to the session before the message, which names it; can be repeated.",
    ),
]
TimeoutOption: TypeAlias = Annotated[
    float | None,
    Parameter(
        name="--timeout",
        validator=Number(gt=0),
        help="The time in seconds after which a message is cancelled; by default none.",
    ),
]
QuietOption: TypeAlias = Annotated[
    bool, flag("Print the text of the reply only, without thinking and tools.", "--quiet", "-q")
]
RawOption: TypeAlias = Annotated[
    bool, flag("Show the Markdown of the reply as it is, also on a terminal.", "--raw")
]
SessionId: TypeAlias = Annotated[str, Parameter(help="The session's id.")]


def examples(*lines: str) -> str:
    """Return the end of a help page: examples, one per line."""
    return "Examples:\n\n" + "\n".join(f"  {line}" for line in lines)


def add(
    app: App,
    function: Callable[..., int],
    *,
    name: str | None = None,
    group: Group | None = None,
    epilogue: str | None = None,
) -> None:
    """Add a command. Its help is the docstring, with each paragraph on one line for any width.

    Args:
      app: the program or group that gets the command.
      function: the command.
      name: the command's name; the function's name by default.
      group: the command's group on the help page.
      epilogue: the end of the command's help page; that of the app by default.
    """
    text = inspect.getdoc(function) or ""
    prose = text.partition("\nArgs:")[0].strip()
    paragraphs = [" ".join(each.split()) for each in prose.split("\n\n")]
    app.command(
        function,
        name=name or function.__name__,
        group=group,
        help="\n\n".join(paragraphs),
        help_epilogue=epilogue,
    )
