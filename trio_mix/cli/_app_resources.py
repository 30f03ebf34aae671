"""Defines the commands for the resources of a server: sessions, files, tools, auth."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, get_args

from cyclopts import App, Parameter

from trio_mix.cli._errors import CommandUsageError
from trio_mix.cli._options import (
    NO_COMMON,
    RESOURCES,
    Common,
    JsonlOption,
    SessionId,
    add,
    examples,
    flag,
)
from trio_mix.cli._run import run_async
from trio_mix.cli.commands import _auth, _files, _sessions, _tools
from trio_mix.models import KeyProvider  # cyclopts reads the annotations

if TYPE_CHECKING:
    from collections.abc import Callable

Provider = Annotated[str, Parameter(help="The provider's short name, as `auth status` prints it.")]
# Accepted here and refused by the command: the parser's error would show the key.
_Refused = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]
Force = Annotated[bool, flag("Replace existing files.")]


def add_resource_commands(app: App) -> None:
    """Add the groups of commands to the program."""
    for group in (_sessions_app(), _files_app(), _tools_app(), _auth_app()):
        app.command(group)


def _group(name: str, help_text: str, epilogue: str, **commands: Callable[..., int]) -> App:
    group = App(name=name, help=help_text, help_epilogue=epilogue, group=RESOURCES)
    for command, function in commands.items():
        add(group, function, name=command)
    return group


def _sessions_app() -> App:
    def list_(*, jsonl: JsonlOption = False, common: Common = NO_COMMON) -> int:
        """List the sessions: id, time of creation, number of messages, title."""
        return run_async(common, _sessions.list_sessions, common.connection(), jsonl=jsonl)

    def create(
        title: str = "trio-mix", /, *, jsonl: JsonlOption = False, common: Common = NO_COMMON
    ) -> int:
        """Create a session and print its id.

        Args:
          title: The session's title.
        """
        return run_async(common, _sessions.create, common.connection(), title, jsonl=jsonl)

    def show(
        session: SessionId, /, *, jsonl: JsonlOption = False, common: Common = NO_COMMON
    ) -> int:
        """Print a session and its stored messages."""
        return run_async(common, _sessions.show, common.connection(), session, jsonl=jsonl)

    def cancel(session: SessionId, /, *, common: Common = NO_COMMON) -> int:
        """Cancel the message that is running in a session."""
        return run_async(common, _sessions.cancel, common.connection(), session)

    def delete(session: SessionId, /, *more: str, common: Common = NO_COMMON) -> int:
        """Delete sessions.

        Args:
          more: More session ids.
        """
        return run_async(common, _sessions.delete, common.connection(), (session, *more))

    return _group(
        "sessions",
        "List, create, show, cancel and delete sessions.",
        examples(
            "trio-mix sessions list",
            'ID=$(trio-mix sessions create "A try")',
            'trio-mix sessions show "$ID" --jsonl | jq .assistant_response',
            'trio-mix sessions delete "$ID"',
        ),
        list=list_,
        create=create,
        show=show,
        cancel=cancel,
        delete=delete,
    )


def _files_app() -> App:
    def list_(
        session: SessionId, /, *, jsonl: JsonlOption = False, common: Common = NO_COMMON
    ) -> int:
        """List a session's files."""
        return run_async(common, _files.list_files, common.connection(), session, jsonl=jsonl)

    def upload(
        session: SessionId,
        path: Path,
        /,
        *more: Path,
        name: str | None = None,
        jsonl: JsonlOption = False,
        common: Common = NO_COMMON,
    ) -> int:
        """Upload files to a session.

        Args:
          path: The file.
          more: More files.
          name: The name on the server; by default the name of the local file.
        """
        paths = (path, *more)
        return run_async(
            common, _files.upload, common.connection(), session, paths, name, jsonl=jsonl
        )

    def download(
        session: SessionId,
        name: str,
        /,
        *more: str,
        to: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
        force: Force = False,
        jsonl: JsonlOption = False,
        common: Common = NO_COMMON,
    ) -> int:
        """Download files of a session. Each is written completely, or not at all.

        Args:
          name: The file's name on the server.
          more: More file names.
          to: A folder, or the file to write; "-" is stdout. By default the current folder.
        """
        return run_async(
            common,
            _files.download,
            common.connection(),
            session,
            (name, *more),
            to,
            force=force,
            jsonl=jsonl,
        )

    def delete(session: SessionId, name: str, /, *more: str, common: Common = NO_COMMON) -> int:
        """Delete files of a session.

        Args:
          name: The file's name on the server.
          more: More file names.
        """
        return run_async(common, _files.delete, common.connection(), session, (name, *more))

    return _group(
        "files",
        "List, upload, download and delete the files of a session.",
        examples(
            'trio-mix files upload "$ID" report.pdf data.csv',
            'trio-mix files list "$ID" --jsonl | jq -r .name',
            'trio-mix files download "$ID" chart.png --to pictures/',
            'trio-mix files download "$ID" notes.txt --to - | less',
        ),
        list=list_,
        upload=upload,
        download=download,
        delete=delete,
    )


def _tools_app() -> App:
    def list_(*, jsonl: JsonlOption = False, common: Common = NO_COMMON) -> int:
        """List the tools that the model may call (API from 0.11)."""
        return run_async(common, _tools.list_tools, common.connection(), jsonl=jsonl)

    def status(*, jsonl: JsonlOption = False, common: Common = NO_COMMON) -> int:
        """List the tools that need a key, and whether the server has it."""
        return run_async(common, _tools.status, common.connection(), jsonl=jsonl)

    def commands(*, jsonl: JsonlOption = False, common: Common = NO_COMMON) -> int:
        """List the slash commands."""
        return run_async(common, _tools.commands, common.connection(), jsonl=jsonl)

    def mcp(*, jsonl: JsonlOption = False, common: Common = NO_COMMON) -> int:
        """List the MCP servers that the Mix server uses."""
        return run_async(common, _tools.mcp, common.connection(), jsonl=jsonl)

    return _group(
        "tools",
        "List the agent's tools, commands and MCP servers, and the tools without a key.",
        examples("trio-mix tools list", "trio-mix tools status --jsonl | jq .authenticated"),
        list=list_,
        status=status,
        commands=commands,
        mcp=mcp,
    )


def _auth_app() -> App:
    def status(*, jsonl: JsonlOption = False, common: Common = NO_COMMON) -> int:
        """Show how the server is authenticated with each provider."""
        return run_async(common, _auth.status, common.connection(), jsonl=jsonl)

    def check(*, common: Common = NO_COMMON) -> int:
        """Check whether the server can use its preferred provider; exit code 4 if it cannot."""
        return run_async(common, _auth.check, common.connection())

    def set_(provider: KeyProvider, /, *key: _Refused, common: Common = NO_COMMON) -> int:
        """Store an API key, typed at a prompt that does not show it, or read from a pipe.

        Args:
          provider: The provider of the key.
        """
        if key:
            raise CommandUsageError(NO_KEY_HERE)
        return run_async(common, _auth.store, common.connection(), provider)

    def delete(provider: Provider, /, *, common: Common = NO_COMMON) -> int:
        """Delete the credentials that the server has for a provider."""
        return run_async(common, _auth.delete, common.connection(), provider)

    def login(provider: Provider, /, *, common: Common = NO_COMMON) -> int:
        """Log the server in to a provider (OAuth): shows a URL, then reads the code from it."""
        return run_async(common, _auth.login, common.connection(), provider)

    return _group(
        "auth",
        "Store, check and delete the server's keys and logins for model providers.",
        examples(
            "trio-mix auth status",
            "trio-mix auth set anthropic",
            "pass show anthropic | trio-mix auth set anthropic",
            "trio-mix auth check && trio-mix chat",
        ),
        status=status,
        check=check,
        set=set_,
        delete=delete,
        login=login,
    )


NO_KEY_HERE = (
    f"`trio-mix auth set` takes a provider ({', '.join(get_args(KeyProvider))}) and no key: "
    "other users of this machine can see arguments, and the shell keeps them in its history. Type "
    "the key at the prompt, or pipe it in. If the key was real, replace it at the provider."
)
