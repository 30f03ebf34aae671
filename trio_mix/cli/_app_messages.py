"""Defines the commands that send or follow messages: ask, chat, watch, browser, acp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trio_mix.cli._arguments import read_text, words_of
from trio_mix.cli._new_session import SessionChoice
from trio_mix.cli._options import (
    MESSAGES,
    NO_COMMON,
    AttachOption,
    Common,
    ContinueOption,
    GrantOption,
    JsonlOption,
    ModelOption,
    QuietOption,
    RawOption,
    SessionId,
    SystemOption,
    TimeoutOption,
    YesOption,
    add,
    examples,
    flag,
)
from trio_mix.cli._run import run_async
from trio_mix.cli.commands import _ask, _resume, _watch
from trio_mix.models import ThinkingLevel  # noqa: TC001  # cyclopts reads the annotations

if TYPE_CHECKING:
    from cyclopts import App


def add_message_commands(app: App) -> None:
    """Add the commands to the program."""
    for command, lines in _COMMANDS:
        add(app, command, group=MESSAGES, epilogue=lines)


def ask(
    *text: Annotated[str, Parameter(allow_leading_hyphen=True)],
    session: str | None = None,
    continue_: ContinueOption = False,
    keep: Annotated[bool, flag("Keep the new session, and print its id on stderr.")] = False,
    model: ModelOption = None,
    system: SystemOption = None,
    attach: AttachOption = (),
    yes: YesOption = False,
    grant: GrantOption = (),
    plan: Annotated[bool, flag("Let the agent plan only.")] = False,
    thinking: ThinkingLevel | None = None,
    max_steps: int | None = None,
    allow_shell: Annotated[
        bool, flag('Send a text that starts with "!": pipeline servers run it as a shell command.')
    ] = False,
    ticket: str | None = None,
    timeout: TimeoutOption = None,
    quiet: QuietOption = False,
    raw: RawOption = False,
    jsonl: JsonlOption = False,
    common: Common = NO_COMMON,
) -> int:
    """Send one message and print the reply.

    The text goes to stdout. If stdout is no terminal, everything else (thinking, tools,
    permissions) goes to stderr. With --jsonl, stdout gets every event of the message and finally a
    "reply".

    Args:
      text: The message, of one or more words; "-" reads it from stdin.
      session: The session to use; by default a new one, which is deleted afterwards.
      ticket: A new file for a ticket, with which `trio-mix resume` continues the message if this
        command is killed; a new session is kept.
      thinking: The thinking level.
      max_steps: The number of steps that the agent may take.
    """
    limit = _time_limit(common, timeout)
    what = _ask.AskOptions(
        text=words_of(text),
        where=_choice(common, session, continue_, model, system),
        keep=keep,
        attach=tuple(attach),
        ticket=ticket,
        show=_ask.ShowOptions(
            yes=yes,
            grant=tuple(grant),
            jsonl=jsonl,
            quiet=quiet,
            raw=raw,
            timeout=limit,
        ),
        plan=plan,
        thinking=thinking,
        max_steps=max_steps,
        allow_shell=allow_shell,
    )
    return run_async(common, _ask.ask, common.connection(), what)


def _choice(
    common: Common, session: str | None, last: bool, model: str | None, system: str | None
) -> SessionChoice:
    profile = common.settings()
    if profile is not None and session is None and not last:
        model, system = model or profile.model, system or profile.system
    return SessionChoice(session=session, last=last, model=model, system=read_text(system))


def _time_limit(common: Common, seconds: float | None) -> float | None:
    profile = common.settings()
    return seconds if seconds is not None or profile is None else profile.timeout


def resume(
    file: str,
    /,
    *,
    yes: YesOption = False,
    grant: GrantOption = (),
    raw: RawOption = False,
    jsonl: JsonlOption = False,
    common: Common = NO_COMMON,
) -> int:
    """Continue the message of a ticket that `trio-mix ask --ticket` has stored.

    A message that was never sent is sent. If it has finished, its reply is printed; if it runs, its
    further events are shown. A message that may have run, without proof, is never sent again: the
    command fails. Output is that of `trio-mix ask`. It can be repeated.

    Args:
      file: The file with the ticket. It is locked while the command runs.
    """
    options = _ask.ShowOptions(yes=yes, grant=tuple(grant), jsonl=jsonl, raw=raw)
    return run_async(common, _resume.resume, common.connection(), file, options)


def attach(
    session: SessionId,
    /,
    *,
    yes: YesOption = False,
    grant: GrantOption = (),
    raw: RawOption = False,
    jsonl: JsonlOption = False,
    common: Common = NO_COMMON,
) -> int:
    """Show the message that a session works on, of any client.

    The whole reply is printed, including what was said before. Ctrl-C does not cancel the message.
    Without a terminal, permission requests are left to the client that has sent it, unless an
    option grants them.
    """
    options = _ask.ShowOptions(yes=yes, grant=tuple(grant), jsonl=jsonl, raw=raw)
    return run_async(common, _resume.attach, common.connection(), session, options)


def chat(
    *,
    session: str | None = None,
    continue_: ContinueOption = False,
    model: ModelOption = None,
    system: SystemOption = None,
    yes: YesOption = False,
    grant: GrantOption = (),
    history: Annotated[bool, flag("Do not read or write the history file.", "--no-history")] = (
        False
    ),
    timeout: TimeoutOption = None,
    quiet: QuietOption = False,
    raw: RawOption = False,
    jsonl: JsonlOption = False,
    common: Common = NO_COMMON,
) -> int:
    """Hold a conversation in a session.

    In a terminal, Enter sends, Alt-Enter starts a new line, and Up recalls earlier messages. Ctrl-C
    cancels the running message, Ctrl-D exits, /help shows the rest. From a pipe, each line is
    a message.

    Args:
      session: The session to continue; by default a new one, which is kept.
    """
    from trio_mix.cli.commands import _chat  # the line editor is loaded only where it is needed

    return run_async(
        common,
        _chat.chat,
        common.connection(),
        _choice(common, session, continue_, model, system),
        _ask.ShowOptions(
            yes=yes,
            grant=tuple(grant),
            jsonl=jsonl,
            quiet=quiet,
            raw=raw,
            timeout=_time_limit(common, timeout),
        ),
        history=not history,
    )


def watch(
    session: SessionId,
    /,
    *more: str,
    jsonl: JsonlOption = False,
    common: Common = NO_COMMON,
) -> int:
    """Print every event of sessions as it happens, until Ctrl-C.

    With several sessions, each line begins with the session's id; with --jsonl, an event has it
    under "session".

    Pipeline servers (API up to 0.6.9) run a message once for each open stream: do not use this
    command on such a server while another client is sending messages.

    Args:
      more: More session ids.
    """
    return run_async(common, _watch.watch, common.connection(), (session, *more), jsonl=jsonl)


def browser(
    *,
    session: str | None = None,
    allow_host: Annotated[
        tuple[str, ...],
        Parameter(
            name="--allow-host",
            negative="",
            show_default=False,
            help="A host that the browser may connect to although it is on this machine or in a "
            "private network, such as localhost:3000; can be repeated.",
        ),
    ] = (),
    folder: str | None = None,
    window: Annotated[bool, flag("Show the browser's window.")] = False,
    no_sandbox: Annotated[
        bool,
        flag("Start Chromium without its sandbox, as it must be as root.", "--no-sandbox"),
    ] = False,
    common: Common = NO_COMMON,
) -> int:
    """Give the agent of a session a Chromium of this machine, until Ctrl-C.

    The browser has a new profile, and reaches only public addresses and the hosts of --allow-host.
    Send the session messages with the commands chat and ask. The environment variable
    MIX_TUNNEL_TOKEN has the token, if the server requires one.

    Args:
      session: A session with the browser mode "electron-embedded-browser"; by default a new one,
        whose id goes to stdout.
      folder: Where uploads are taken from and downloads are stored, in its subfolder
        `downloads`; by default a folder that is
        removed at the end.
    """
    from trio_mix.cli.commands import _browser  # WebSockets are loaded only where they are needed

    options = _browser.BrowserOptions(
        session=session,
        allow_host=tuple(allow_host),
        folder=folder,
        window=window,
        sandbox=not no_sandbox,
    )
    return run_async(common, _browser.browser, common.connection(), options)


def acp(*, common: Common = NO_COMMON) -> int:
    """Serve an editor that speaks the Agent Client Protocol on stdin and stdout.

    Editors start this command by themselves: put it into their settings. Each session of the
    editor is a session of the Mix server, and is kept.
    """
    from trio_mix.cli.commands import _acp  # only editors need it

    return run_async(common, _acp.acp, common.connection())


_COMMANDS = (
    (
        ask,
        examples(
            'trio-mix ask "Which files are here?"',
            'git diff | trio-mix ask - --session "$ID" > review.txt',
            'trio-mix ask "Fix the tests" --grant edit --grant bash --jsonl | jq -r .event',
            "trio-mix ask What is in this file? --attach report.pdf --keep",
            "trio-mix ask --continue And in one word?",
        ),
    ),
    (
        resume,
        examples(
            'trio-mix ask "Summarise the log" --ticket job.ticket || trio-mix resume job.ticket',
            "trio-mix resume job.ticket --jsonl | jq -r .event",
        ),
    ),
    (
        attach,
        examples('trio-mix attach "$ID"', 'trio-mix attach "$ID" --jsonl | tail -n 1'),
    ),
    (
        chat,
        examples(
            "trio-mix chat",
            "trio-mix chat --continue",
            'trio-mix chat --session "$ID"',
            'printf "first\\nsecond\\n" | trio-mix chat',
        ),
    ),
    (
        watch,
        examples(
            'trio-mix watch "$ID"',
            'trio-mix watch "$ID" "$OTHER"',
            'trio-mix watch "$ID" --jsonl | jq -r "select(.event == \\"content\\").content"',
        ),
    ),
    (
        browser,
        examples(
            "trio-mix browser --allow-host localhost:3000",
            'trio-mix browser --session "$ID" --window',
        ),
    ),
    (
        acp,
        examples("trio-mix acp", "trio-mix acp --server http://localhost:8088"),
    ),
)
