"""Defines the commands for the resources of a server: sessions, files, tools, auth."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, get_args

from cyclopts import App, Parameter
from cyclopts.validators import Number

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
from trio_mix.cli._transcripts import TranscriptFormat  # noqa: TC001  # cyclopts reads it
from trio_mix.cli.commands import _api, _auth, _files, _search, _sessions, _tools
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
    add(app, api, group=RESOURCES, epilogue=_API_EXAMPLES)


def api(
    method: str,
    path: str,
    /,
    *,
    param: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    field: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    data: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    paginate: Annotated[
        bool, flag("Get all pages of a list with limit and offset, one row per line.")
    ] = False,
    include: Annotated[bool, flag("Print status and headers on stderr.")] = False,
    common: Common = NO_COMMON,
) -> int:
    """Make any request of the API, and print the body of the response.

    JSON is formatted. It is made with the headers of the profile and of --header. An error of the
    server is one line on stderr.

    Args:
      method: GET, POST, PATCH, PUT or DELETE.
      path: The path, percent-encoded, such as /api/sessions.
      param: A parameter of the query, as NAME=VALUE; can be repeated.
      field: A member of the JSON body, as NAME=VALUE; the value is JSON, or else text. Can be
        repeated.
      data: The JSON body; "-" reads it from stdin.
    """
    request = _api.ApiRequest(
        method=method,
        path=path,
        params=tuple(param),
        fields=tuple(field),
        data=data,
        paginate=paginate,
        include=include,
    )
    return run_async(common, _api.api, common.connection(), request)


_API_EXAMPLES = examples(
    "trio-mix api GET /api/sessions --param includeSubagents=true",
    "trio-mix api POST /api/sessions --field title=Try --field browserMode=local-browser-service",
    "trio-mix api GET /api/messages/history --paginate | jq -r .userInput",
)


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

    def export(
        session: SessionId,
        /,
        *,
        to: Path | None = None,
        form: Annotated[TranscriptFormat | None, Parameter(name="--format")] = None,
        common: Common = NO_COMMON,
    ) -> int:
        """Write a session as Markdown, or as the JSON of the server.

        Args:
          to: A new file; by default stdout.
          form: The format; by default JSON if the name of the file ends in .json, else Markdown.
        """
        return run_async(common, _sessions.export, common.connection(), session, form, to)

    def fork(
        session: SessionId,
        /,
        *,
        messages: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
        title: str | None = None,
        jsonl: JsonlOption = False,
        common: Common = NO_COMMON,
    ) -> int:
        """Create a session that begins with the messages of another (API up to 0.6.9).

        Prints the id of the new session.

        Args:
          messages: How many of its stored messages to copy; by default all.
          title: The title; by default that of the session.
        """
        server = common.connection()
        return run_async(
            common, _sessions.fork_session, server, session, messages, title, jsonl=jsonl
        )

    def rewind(
        session: SessionId,
        /,
        *,
        turns: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
        common: Common = NO_COMMON,
    ) -> int:
        """Delete the last messages of a session, with the replies to them (API from 0.6.9).

        Args:
          turns: How many messages that you sent.
        """
        return run_async(common, _sessions.rewind_session, common.connection(), session, turns)

    def search(
        text: Annotated[str, Parameter(allow_leading_hyphen=True)],
        /,
        *,
        limit: Annotated[int, Parameter(validator=Number(gte=1))] = 50,
        jsonl: JsonlOption = False,
        common: Common = NO_COMMON,
    ) -> int:
        """Find a text in the titles and messages of all sessions, the newest first.

        Args:
          text: The text; case makes no difference.
          limit: The number of places to show.
        """
        return run_async(common, _search.search, common.connection(), text, limit, jsonl=jsonl)

    def delete(session: SessionId, /, *more: str, common: Common = NO_COMMON) -> int:
        """Delete sessions.

        Args:
          more: More session ids.
        """
        return run_async(common, _sessions.delete, common.connection(), (session, *more))

    return _group(
        "sessions",
        "List, create, show, search, export, copy, rewind, cancel and delete sessions.",
        examples(
            "trio-mix sessions list",
            'ID=$(trio-mix sessions create "A try")',
            'trio-mix sessions show "$ID" --jsonl | jq .assistant_response',
            'trio-mix sessions search "parser"',
            'trio-mix sessions export "$ID" --to talk.md',
            'trio-mix sessions rewind "$ID" --turns 2',
            'COPY=$(trio-mix sessions fork "$ID")',
            'trio-mix sessions delete "$ID"',
        ),
        list=list_,
        create=create,
        show=show,
        search=search,
        export=export,
        fork=fork,
        rewind=rewind,
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
