"""The docs of every operation agree with its declaration and with the contract."""

from __future__ import annotations

import inspect
from typing import Any

import mix_python_sdk
import pytest

from tests.support.cases import case
from tests.support.contract_pages import DOCS, PAGES, PYTHON_SDK, TABLES, renewed
from tests.support.contract_world import MAX_UPLOAD
from tests.support.rest_operations import OPERATIONS
from trio_mix import funcs, resources


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_of_a_page_are_up_to_date(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    assert "<!-- made: " in text
    assert renewed(text) == text, "run: python -m tests.support.contract_pages"


def test_every_operation_is_in_the_tables() -> None:
    for name, operation in OPERATIONS.items():
        group, _, method = name.partition(".")
        assert f"`{group}_{method}`" in "\n".join(TABLES["operations"]())
        assert f"`{operation.method} {operation.path}`" in "\n".join(TABLES["operations"]())
        assert f"| `{name}` |" in "\n".join(TABLES["retries"]())
        assert f"| `{operation.name}(" in "\n".join(TABLES["migration"]())
        assert callable(getattr(funcs, f"{group}_{method}"))
    assert MAX_UPLOAD


def test_each_docstring_says_the_same_of_retries_as_the_table() -> None:
    for name, operation in OPERATIONS.items():
        with case(name):
            group, _, method = name.partition(".")
            text = inspect.getdoc(getattr(getattr(resources, group.capitalize()), method)) or ""
            safe = operation.retry == "safe"
            assert ("retried after 408, 429 and 5XX" in text) == safe
            assert ("only if nothing of the request was sent" in text) == (not safe)


def test_the_published_python_client_has_the_methods_that_the_page_names_and_no_others() -> None:
    client: Any = mix_python_sdk.Mix(server_url="http://mix.test")
    named = set(PYTHON_SDK.values())
    for each in named:
        group, _, method = each.partition(".")
        assert callable(getattr(getattr(client, group), method))
        assert callable(getattr(getattr(client, group), f"{method}_async"))
    for group in {each.partition(".")[0] for each in named}:
        theirs = {
            f"{group}.{method.removesuffix('_async')}"
            for method in dir(getattr(client, group))
            if method.endswith("_async") and not method.startswith(("_", "do_request"))
        }
        assert theirs <= named
