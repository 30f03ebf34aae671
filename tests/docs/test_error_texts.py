"""Every error that the package can raise is raised, and its text is checked.

Rules:

1. Each public error class has a cause here: through the public API, with a server that misbehaves.
2. Its text names the operation, the target and a remedy, and contains no credential.
3. The page of errors contains these texts.
"""

from __future__ import annotations

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

INTERNAL = {
    **dict.fromkeys(
        (
            "AlreadyDecided",
            "Draining",
            "Fenced",
            "KeyReused",
            "OwnerUnreachable",
            "QueueFull",
            "SessionOwned",
            "TurnUnknown",
            "UpstreamUnavailable",
        ),
        "a response of the relay",
    ),
    "Closing": "ends a send of the relay, which the next start repeats",
    "BadMessage": "closes a WebSocket with a code",
    "_BadMessage": "becomes ProtocolError",
    "BadProxyRequest": "a response of the tunnel's proxy",
    "CommandDenied": "an answer to the server",
    "BodyError": "becomes ConnectionFailed",
    "ContentError": "becomes ConnectionFailed",
    "DisconnectedError": "becomes ConnectionFailed",
    "Mismatch": "becomes ResponseValidationError",
    "NotJSON": "becomes ResponseValidationError, an unknown event or `None`",
    "Problem": "a response of the bundled server",
    "Vetoed": "carries the exception of a hook, which is raised itself",
    "TransportLost": "becomes ConnectionFailed, ReconnectFailed or BrowserGone",
    "WebSocketRefused": "becomes TunnelRefused, SessionNotFound or Unauthorized",
    "WriteError": "becomes ConnectionFailed, unless a response arrives",
    "_Failed": "a response of the bundled server",
    "ItemsError": "becomes Mismatch",
    "_Refused": "a response of the tunnel's proxy",
    "_TurnEnded": "ends a turn of the bundled server",
    "WrongType": "becomes Mismatch",
}
"""Exceptions that are never raised to a caller, each with the reason."""


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Exception | None, str]]:
    """The error of each cause, and its text as the page has it."""
    found: dict[str, tuple[Exception | None, str]] = {}
    for cause in CAUSES:
        folder: Path = tmp_path_factory.mktemp("cause")
        error = happen(cause, folder)
        found[cause.name] = (error, "" if error is None else text_of(error, folder))
    return found


def test_an_error_names_the_operation_the_target_and_a_remedy(
    errors: dict[str, tuple[Exception | None, str]],
) -> None:
    for cause in CAUSES:
        error, _ = errors[cause.name]
        text = str(error)
        assert type(error) is cause.error, cause.name
        missing = [
            part for part in (cause.operation, cause.target, cause.remedy) if part not in text
        ]
        assert not missing, f"{cause.name}: {text}"
        assert len({cause.operation, cause.target, cause.remedy}) == 3, cause.name
        assert "secret" not in text, cause.name


def test_every_error_class_has_a_real_cause() -> None:
    caused = {cause.error for cause in CAUSES}
    assert not [f"{home}.{error.__name__}" for home, error in raised() if error not in caused]


def _all_error_classes() -> set[type[Exception]]:
    found: set[type[Exception]] = set()
    for module in pkgutil.walk_packages(trio_mix.__path__, "trio_mix."):
        if module.name.startswith("trio_mix.cli"):  # a program: nobody catches its errors
            continue
        names = vars(importlib.import_module(module.name))
        found |= {
            each
            for each in names.values()
            if inspect.isclass(each)
            and issubclass(each, Exception)
            and each.__module__.startswith("trio_mix")
        }
    return found


def test_no_error_class_of_the_package_is_missing() -> None:
    known = {error for _, error in raised()}
    bases = {base for error in known for base in error.__mro__}
    left = {error.__name__ for error in _all_error_classes() - known - bases}
    assert left == set(INTERNAL)


def test_the_page_of_errors_has_these_texts(
    errors: dict[str, tuple[Exception | None, str]],
) -> None:
    page = PAGE.read_text("utf-8")
    texts = {name: text for name, (_, text) in errors.items()}
    assert renewed(page, texts) == page, "run: python -m tests.support.error_page"


def test_the_page_s_tree_has_every_class() -> None:
    tree = PAGE.read_text("utf-8").partition("```text\n")[2].partition("```")[0]
    named = set(re.findall(r"\b[A-Z]\w*[a-z]\w*", tree))
    own = {error for _, error in raised() if issubclass(error, trio_mix.errors.TrioMixError)}
    bases = {base for error in own for base in error.__mro__[1:-3]}
    bases = {base for base in bases if issubclass(base, trio_mix.errors.TrioMixError)}
    assert named == {error.__name__ for error in own | bases}


def test_trio_s_own_class_is_the_only_foreign_one() -> None:
    foreign = {error for home, error in raised() if not home.startswith("trio_mix")}
    assert foreign == {trio.BusyResourceError}
