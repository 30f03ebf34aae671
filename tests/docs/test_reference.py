"""The reference has every public name."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import pytest

import trio_mix

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "api"
TEXT = {page.stem: page.read_text("utf-8") for page in REFERENCE.glob("*.md")}
MODULES = sorted(
    module.name for module in pkgutil.iter_modules(trio_mix.__path__) if module.name[0] != "_"
)
NOT_IMPORTED = {"cli"}  # a program, with a page of its own


def test_every_page_is_in_the_reference_s_table_of_contents() -> None:
    index = TEXT["index"].splitlines()
    assert set(TEXT) - {"index"} <= set(index)


@pytest.mark.parametrize("name", [n for n in MODULES if n not in NOT_IMPORTED])
def test_every_public_module_has_its_page(name: str) -> None:
    assert any(f".. automodule:: trio_mix.{name}\n" in text for text in TEXT.values())


NAMES = [name for name in trio_mix.__all__ if isinstance(getattr(trio_mix, name), type)]


def test_the_package_has_names() -> None:
    assert {"Mix", "MixCore", "Message", "ReconnectPolicy"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_package_is_described(name: str) -> None:
    page = TEXT["client"] + TEXT["stream"]
    assert f".. autoclass:: {name}\n" in page or f":class:`trio_mix.hooks.{name}`" in page
