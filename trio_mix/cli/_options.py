"""The options that several commands share, and the groups of the help page.

What it knows: names, help texts, which environment variable stands in for what.
What it must never know: what a command does with them.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import attrs
from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from cyclopts import App

MESSAGES: Final = Group("Talk", sort_key=1)
RESOURCES: Final = Group("What the server has", sort_key=2)
SERVERS: Final = Group("Servers: look into one, run one, record one", sort_key=3)
SHELL: Final = Group("This program", sort_key=4)
COMMON: Final = Group("Common options", sort_key=90)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Debug:
    """What every command takes."""

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
    """What every command takes that talks to a server."""

    server: Annotated[
        str | None,
        Parameter(
            name=["--server", "--server-url"],
            env_var="MIX_SERVER_URL",
            group=COMMON,
            help="The Mix server's address (default: http://localhost:8088).",
        ),
    ] = None


NO_DEBUG: Final = Debug()
NO_COMMON: Final = Common()


def flag(text: str, *names: str) -> Parameter:
    """Describe an option that is given or not."""
    return Parameter(name=list(names) or None, negative="", show_default=False, help=text)


YesOption: TypeAlias = Annotated[bool, flag("Grant every permission asked for.", "--yes", "-y")]
JsonlOption: TypeAlias = Annotated[bool, flag("One JSON object a line.", "--jsonl")]
ApiOption: TypeAlias = Annotated[
    Literal["async", "blocking", "pipeline", "pipeline-oldest"],
    Parameter(name="--api", help="The API generation that the bundled server speaks."),
]
HostOption: TypeAlias = Annotated[
    str,
    Parameter(
        name="--host",
        help="The address to bind; anything but loopback lets the network in, without a password.",
    ),
]
DemoApiOption: TypeAlias = Annotated[
    Literal["async", "blocking", "pipeline"],
    Parameter(name="--api", help="The API generation that the bundled server speaks."),
]
SessionId: TypeAlias = Annotated[str, Parameter(help="The session's id.")]


def examples(*lines: str) -> str:
    """Make the end of a help page: examples, one a line."""
    return "Examples:\n\n" + "\n".join(f"  {line}" for line in lines)


def add(
    app: App,
    function: Callable[..., int],
    *,
    name: str | None = None,
    group: Group | None = None,
    epilogue: str | None = None,
) -> None:
    """Add a command; its help is its docstring, each paragraph in one line for any width.

    Args:
      app: where it belongs.
      function: what it does.
      name: its name; without it, the function's.
      group: its group on the help page.
      epilogue: the end of its help page; without it, the app's.
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
