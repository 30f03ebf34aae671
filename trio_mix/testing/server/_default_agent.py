"""The default agent, which handles messages that no script matches.

It reads no file and runs no command: its output is made up, and the same text always gives the same
turn.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trio_mix.testing.server._script import (
    AskPermission,
    Notify,
    Pause,
    Say,
    Step,
    Think,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix.testing.server._traits import Traits

_FILES = ("README.md", "pyproject.toml", "src/main.py", "src/agent.py", "tests/test_main.py")
_WANTS_SHELL = re.compile(r"\b(run|execute|command|shell|bash|install)\b", re.IGNORECASE)
_WANTS_QUESTION = re.compile(r"\b(notify|notification|question)\b", re.IGNORECASE)
_WANTS_STORY = re.compile(r"\bstory\b", re.IGNORECASE)
_WANTS_FILES = re.compile(r"\b(files?|folders?|director(y|ies)|list|ls)\b", re.IGNORECASE)

_STORY = (
    "Once upon a time there was a client that listened to a server, one word after the other. "
    "Then, in the middle of a sentence, the line went dead. The client did not despair: it waited "
    "a little, rang again, and waited a little longer. When the server came back, the client asked "
    "what had been said meanwhile, and put it where it belonged. Nobody who read the story ever "
    "noticed that there had been a gap."
)
_WORD_TAKES = 0.25
"""Seconds per word of the story, so that there is time to interrupt it."""

COMMANDS = {
    "help": "Show the available commands",
    "context": "Show how much of the context is used",
    "session": "Show the current session",
}
"""The slash commands and their descriptions."""


def plausible_turn(text: str, traits: Traits, pace: float) -> Turn:
    """Return a plausible turn for ``text``.

    Args:
      text: the message.
      traits: the traits of the server's version, for the names of its tools.
      pace: the factor for all pauses; 0: no pauses.
    """
    shell, files = bool(_WANTS_SHELL.search(text)), bool(_WANTS_FILES.search(text))
    wish = " ".join(text.split())[:60]
    steps: list[Step] = [Think(f'The user says: "{wish}". ' + _plan(shell, files)), Pause(0.3)]
    if files:
        steps += [
            Say("Let me look at the files."),
            UseTool(traits.tool("glob"), {"pattern": "**/*"}, steps=[Pause(0.2)]),
            Say(f" I found {len(_FILES)} files: " + ", ".join(_FILES) + "."),
        ]
    if shell:
        name, params = traits.tool("bash"), {"command": "uname -s"}
        steps += [
            Say(" For the rest I need to run a command." if files else "I need to run a command."),
            AskPermission(
                name,
                description="Run a shell command: uname -s",
                params=params,
                then=[
                    UseTool(name, params, steps=[Pause(0.3)]),
                    Say(" The command says that this is Linux."),
                ],
                otherwise=[Say(" You did not allow it, so I leave it at that.")],
            ),
        ]
    if question := traits.notifications and bool(_WANTS_QUESTION.search(text)):
        steps += [
            Notify(
                "Which colour do you prefer?",
                title="A question",
                kind="question",
                response="choice",
                choices=("red", "blue"),
            ),
            Say(" Thank you for your patience."),
        ]
    if not (files or shell or question):
        steps += _story() if _WANTS_STORY.search(text) else [Say(_answer(text))]
    return Turn(*_paced(steps, pace))


def shell_output(command: str) -> str:
    """Return made-up output for a ``!`` message; no command is run."""
    return f"$ {command}\n(the bundled server runs no commands; a real one would have run this)"


def slash_output(command: str) -> str | None:
    """Return the output of a ``/`` message, or None for an unknown command."""
    name = command.split()[0] if command.split() else ""
    if name == "help":
        return "\n".join(f"/{known}: {what}" for known, what in COMMANDS.items())
    return f"/{name}: {COMMANDS[name]} (made up)" if name in COMMANDS else None


def _plan(shell: bool, files: bool) -> str:
    wanted = [*(["look at the files"] if files else []), *(["run a command"] if shell else [])]
    return f"I should {' and then '.join(wanted)}." if wanted else "No tool is needed."


def _story() -> list[Step]:
    *words, last = _STORY.split()
    slowly = [each for word in words for each in (Say(f"{word} "), Pause(_WORD_TAKES))]
    return [*slowly, Say(last)]


def _answer(text: str) -> str:
    words = len(text.split())
    if re.search(r"\b(hello|hi|hey)\b", text, re.IGNORECASE):
        return "Hello! I am the agent of the bundled server. What can I do for you?"
    if re.search(r"\bone word\b", text, re.IGNORECASE):
        return "Certainly."
    return f"I have read your {words} word{'' if words == 1 else 's'} and have nothing to add."


def _paced(steps: Sequence[Step], pace: float) -> list[Step]:
    paced: list[Step] = []
    for step in steps:
        match step:
            case Pause(seconds):
                if pace > 0:
                    paced.append(Pause(seconds * pace))
            case UseTool(name, params, result, success, inner):
                paced.append(UseTool(name, params, result, success, _paced(inner, pace)))
            case AskPermission(name, then, otherwise, action, description, params):
                paced.append(
                    AskPermission(
                        name,
                        _paced(then, pace),
                        None if otherwise is None else _paced(otherwise, pace),
                        action,
                        description,
                        params,
                    )
                )
            case _:
                paced.append(step)
    return paced
