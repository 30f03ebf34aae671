"""A forked program ends and prints like one that a new interpreter runs."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.example_programs import run_program

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = {
    "returns": "print('ok', __name__)",
    "exits": "import sys; sys.exit(3)",
    "exits with a text": "import sys; sys.exit('it failed')",
    "raises": "def fail():\n    raise ValueError('no')\nfail()",
    "warns": "import warnings; warnings.warn('old', DeprecationWarning)",
    "does not close a socket": "import socket; socket.socket()",
    "has arguments": "import sys; print(len(sys.argv), sys.argv[1], sys.argv[0][-7:])",
    "reads": "print(input('? '))",
}


async def _run(path: Path, *, new_interpreter: bool, line: str = "") -> tuple[int, str]:
    async with run_program(path, "one", new_interpreter=new_interpreter) as program:
        await program.enter(line)
        code = await program.ended()
    # Without the frames of runpy, the marks below source lines and the numbers of file descriptors.
    output = re.sub(r"(?m)^  File .*runpy.*\n.*\n", "", program.output)
    output = re.sub(r"\bfd=\d+", "fd=N", output)
    return code, re.sub(r"(?m)^ +\^+\n", "", output)


@pytest.mark.parametrize("kind", PROGRAMS)
async def test_a_fork_behaves_like_a_new_interpreter(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "main.py"
    path.write_text(PROGRAMS[kind])
    code, output = await _run(path, new_interpreter=False, line="hello")
    expected_code, expected_output = await _run(path, new_interpreter=True, line="hello")
    assert code == expected_code
    assert output.splitlines()[-1:] == expected_output.splitlines()[-1:]


async def test_ctrl_c_ends_a_fork_with_the_status_of_the_signal(tmp_path: Path) -> None:
    path = tmp_path / "main.py"
    path.write_text("import time; print('ready'); time.sleep(60)")
    for new_interpreter in (False, True):
        async with run_program(path, new_interpreter=new_interpreter) as program:
            await program.says("ready")
            program.signal(signal.SIGINT)
            assert await program.ended() == -signal.SIGINT
        assert "KeyboardInterrupt" in program.output
