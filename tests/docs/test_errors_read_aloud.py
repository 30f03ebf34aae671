"""Every error that the package can raise is made to happen, and its text read.

Rules:

1. Each public error class has a cause here: through the public API, the server misbehaving.
2. Its text names the operation, the target and a remedy, and shows no credential.
3. The page of errors shows these very texts.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
from typing import TYPE_CHECKING

import pytest
import trio

import trio_mix
from tests.support.error_page import PAGE, raised, renewed
from tests.support.error_stage import CAUSES, happen, text_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.error_stage import Cause

INTERNAL = {
    "BodyError": "becomes ConnectionFailed",
    "DisconnectedError": "becomes ConnectionFailed",
    "Mismatch": "becomes ResponseValidationError",
    "Problem": "an answer of the bundled server",
    "Vetoed": "carries what a hook raised, which comes out itself",
    "WebSocketLost": "becomes ConnectionFailed, or BrowserGone",
    "WebSocketRefused": "becomes TunnelRefused, or SessionNotFound",
    "WriteError": "becomes ConnectionFailed, or the answer that came all the same",
    "_TurnEnded": "the bundled server's way to end a turn",
    "_WrongType": "becomes Mismatch",
}
"""Internal exceptions, each with the public one that replaces it."""


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Exception | None, str]]:
    """What came out of each cause, and its text as the page has it."""
    found: dict[str, tuple[Exception | None, str]] = {}
    for cause in CAUSES:
        folder: Path = tmp_path_factory.mktemp("cause")
        error = happen(cause, folder)
        found[cause.name] = (error, "" if error is None else text_of(error, folder))
    return found


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_an_error_names_the_operation_the_target_and_a_remedy(
    cause: Cause, heard: dict[str, tuple[Exception | None, str]]
) -> None:
    error, _ = heard[cause.name]
    assert type(error) is cause.error
    text = str(error)
    for part in (cause.operation, cause.target, cause.remedy):
        assert part in text
    assert len({cause.operation, cause.target, cause.remedy}) == 3
    assert "secret" not in text


@pytest.mark.parametrize(("home", "error"), list(raised()), ids=str)
def test_every_error_class_has_a_real_cause(home: str, error: type[Exception]) -> None:
    assert any(cause.error is error for cause in CAUSES), f"{home}.{error.__name__}"


@functools.cache
def _all_error_classes() -> frozenset[type[Exception]]:
    found: set[type[Exception]] = set()
    for module in pkgutil.walk_packages(trio_mix.__path__, "trio_mix."):
        if module.name.startswith("trio_mix.cli"):  # a program: nobody catches what it raises
            continue
        names = vars(importlib.import_module(module.name))
        found |= {
            each
            for each in names.values()
            if inspect.isclass(each)
            and issubclass(each, Exception)
            and each.__module__.startswith("trio_mix")
        }
    return frozenset(found)


def test_no_error_class_of_the_package_is_forgotten() -> None:
    known = {error for _, error in raised()}
    bases = {base for error in known for base in error.__mro__}
    left = {error.__name__ for error in _all_error_classes() - known - bases}
    assert left == set(INTERNAL)


def test_the_page_of_errors_shows_these_very_texts(
    heard: dict[str, tuple[Exception | None, str]],
) -> None:
    page = PAGE.read_text("utf-8")
    texts = {name: text for name, (_, text) in heard.items()}
    assert renewed(page, texts) == page, "run: python -m tests.support.error_page"


def test_the_page_s_tree_has_every_class() -> None:
    tree = PAGE.read_text("utf-8").partition("```text\n")[2].partition("```")[0]
    named = set(re.findall(r"\b[A-Z]\w*[a-z]\w*", tree))
    ours = {error for _, error in raised() if issubclass(error, trio_mix.errors.TrioMixError)}
    bases = {base for error in ours for base in error.__mro__[1:-3]}
    bases = {base for base in bases if issubclass(base, trio_mix.errors.TrioMixError)}
    assert named == {error.__name__ for error in ours | bases}


def test_trio_s_own_class_is_the_only_foreign_one() -> None:
    foreign = {error for home, error in raised() if not home.startswith("trio_mix")}
    assert foreign == {trio.BusyResourceError}
