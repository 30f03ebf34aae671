"""Help, completion and the reference page."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import cli_page
from trio_mix.cli import main
from trio_mix.cli._errors import EXIT_CODES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import OpenTerminal, RunCommand

WORDS = [words for words, _ in cli_page.commands()]


def test_the_reference_page_is_up_to_date() -> None:
    page = cli_page.PAGE.read_text(encoding="utf-8")
    assert page == cli_page.with_reference(page), "run: python -m tests.support.cli_page"


def test_the_page_names_every_command_and_exit_code_in_its_prose() -> None:
    prose = cli_page.PAGE.read_text(encoding="utf-8").partition(cli_page.MARK)[0]
    for words in WORDS:
        if " " not in words:
            assert f"`{words}`" in prose, words
    assert set(EXIT_CODES) == {0, 1, 2, 3, 4, 70, 129, 130, 143}


def test_every_command_and_option_has_a_help_text() -> None:
    for words, command in cli_page.commands():
        assert command.help.strip(), words
        if command.default_command is not None:
            for argument in cli_page.arguments(command):
                assert argument.parameter.help, (words, argument.names)


def test_every_command_has_examples_with_existing_commands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in WORDS:
        assert main([*words.split(), "--help"]) == 0
        text = capsys.readouterr().out
        _, _, examples = text.partition("Examples:")
        found = [line for line in examples.splitlines() if "trio-mix " in line]
        assert found, words
        for line in found:
            for part in line.split("trio-mix ")[1:]:
                named = part.split()
                assert named[0] in WORDS, line
                group = any(each.startswith(f"{named[0]} ") for each in WORDS)
                if group and not named[1].startswith("-"):  # a group may be a command, too
                    assert " ".join(named[:2]) in WORDS, line


async def test_the_help_page_is_grouped_and_shows_how_to_start(run_command: RunCommand) -> None:
    done = await run_command("--help")
    assert done.code == 0
    at = [
        done.out.index(word) for word in ("Messages", "Resources of", "Servers", "Getting started")
    ]
    assert at == sorted(at)
    assert "Exit codes" in done.out
    assert "\x1b" not in done.out


async def test_the_help_page_fits_a_narrow_terminal(open_terminal: OpenTerminal) -> None:
    async with open_terminal("--help", columns=50) as terminal:
        await terminal.expect("trio-mix chat")
        assert await terminal.end() == 0
    start = terminal.shown.partition("Getting started:")[2].partition("COMMAND")[0]
    lines = [line for line in start.splitlines() if line.strip()]
    assert all(line.startswith("  trio-mix ") for line in lines[:4]), lines


async def test_without_a_command_the_help_page_is_shown(run_command: RunCommand) -> None:
    done = await run_command()
    assert (done.code, done.err) == (0, "")
    assert done.out == (await run_command("--help")).out


async def test_only_debug_shows_the_traceback(run_command: RunCommand) -> None:
    args = ("sessions", "list", "--server", "http://127.0.0.1:1")
    done = await run_command(*args)
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "trio-mix serve" in done.err
    with pytest.raises(AssertionError, match="Traceback"):
        await run_command(*args, "--debug")
    with pytest.raises(AssertionError, match="Traceback"):
        await run_command(*args, TRIO_MIX_DEBUG="1")


BASH = """
source "$1"
COMP_WORDS=({words}); COMP_CWORD={at}; COMP_LINE="{line}"; COMP_POINT={point}
_trio_mix
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


COMPLETIONS = (
    ("trio-mix se", {"serve", "sessions"}),
    ("trio-mix sessions d", {"delete"}),
    ("trio-mix ask --thinking ", {"off", "basic", "medium", "maximum"}),
    ("trio-mix auth set op", {"openai", "openrouter"}),
    ("trio-mix doctor --he", {"--heartbeat", "--help"}),
)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_and_choices(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    for line, expected in COMPLETIONS:
        words = line.split(" ")
        program = BASH.format(
            words=" ".join(f'"{word}"' for word in words),
            at=len(words) - 1,
            line=line,
            point=len(line),
        )
        done = subprocess.run(  # noqa: S603 - a fixed program
            ["bash", "-c", program, "bash", str(script)],  # noqa: S607
            capture_output=True,
            check=True,
            text=True,
        )
        assert expected <= set(done.stdout.split()), done.stdout + done.stderr
        assert all(word.startswith(words[-1]) for word in done.stdout.split())


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_completes_commands_and_options(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["completion", "fish"]) == 0
    script = tmp_path / "trio-mix.fish"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    for line, expected in (
        ("trio-mix se", {"serve", "sessions"}),
        ("trio-mix doctor --he", {"--heartbeat"}),
    ):
        program = f"source {script}; complete -C '{line}'"
        done = subprocess.run(  # noqa: S603 - a fixed program
            ["fish", "--no-config", "-c", program],  # noqa: S607
            capture_output=True,
            check=True,
            text=True,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )
        assert expected <= {each.split("\t")[0] for each in done.stdout.splitlines()}, done.stdout


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_loads_the_script(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["completion", "zsh"]) == 0
    script = tmp_path / "_trio-mix"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    assert script.read_text(encoding="utf-8").startswith("#compdef trio-mix")
    program = (
        f"fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -u -d {tmp_path}/dump; "
        "print -r -- $_comps[trio-mix]; autoload +X _trio-mix && print loaded"
    )
    done = subprocess.run(  # noqa: S603 - a fixed program
        ["zsh", "-f", "-c", program],  # noqa: S607
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.split() == ["_trio-mix", "loaded"], done.stderr


def test_an_unknown_shell_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "tcsh" in capsys.readouterr().err
