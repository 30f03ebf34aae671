"""Generate the page of errors: what each error means, what to do, and its texts.

``python -m tests.support.error_page`` writes the page; a test compares it.
"""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from tests.support import error_causes as error_causes
from tests.support import error_causes_beside as error_causes_beside
from tests.support import error_causes_relay as error_causes_relay
from tests.support import error_causes_session as error_causes_session
from tests.support import error_causes_small as error_causes_small
from tests.support.error_stage import CAUSES, Cause, happen, text_of
from trio_mix import browser, errors, relay, testing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
_BEGIN: Final = "<!-- made: errors -->\n"
_END: Final = "<!-- /made -->"

MODULES: Final = {
    "trio_mix.errors": errors,
    "trio_mix.browser": browser,
    "trio_mix.relay": relay,
    "trio_mix.testing": testing,
}


def raised() -> Iterator[tuple[str, type[Exception]]]:
    """Return each public error class with a cause or without subclasses, and Trio's class."""
    order = [cause.error for cause in CAUSES]
    for name, module in MODULES.items():
        public = [getattr(module, each) for each in module.__all__]
        found = [each for each in public if inspect.isclass(each) and issubclass(each, Exception)]
        found.sort(key=lambda each: order.index(each) if each in order else 0)
        for each in found:
            if each in order or not any(each in other.__bases__ for other in found):
                yield name, each
    yield "trio", trio.BusyResourceError


def sections(texts: Mapping[str, str]) -> Iterator[str]:
    """Return the sections of the page, one for each class.

    Args:
      texts: the error texts, by the names of their causes.
    """
    module = ""
    for home, error in raised():
        if home != module:
            module = home
            yield f"## `{home}`\n"
        is_, does = _described(error)
        yield f"### {error.__name__}\n"
        link = f"{{class}}`{home}.{error.__name__}`: " if home != "trio" else ""
        yield f"{link}{is_}\n"
        yield f"**What to do.** {does}\n"
        for cause in CAUSES:
            if cause.error is error and cause.happens:
                yield f"- {cause.happens}\n"
                yield "  ```{code-block} text\n  :class: error-text\n"
                yield f"  {texts[cause.name]}\n  ```\n"


def _described(error: type[Exception]) -> tuple[str, str]:
    if error is trio.BusyResourceError:
        return (
            "two tasks use an object that only one task can use at a time (a class of Trio).",
            "Let one task use it, and pass the results on, for example over a memory channel.",
        )
    doc = (inspect.getdoc(error) or "").replace("``", "`")
    is_, _, rest = doc.partition("\n\n")
    does = rest.partition("\n\n")[0]
    assert does.startswith("What to do: "), f"{error.__name__}'s docstring has no What to do"
    flat = " ".join(is_.split())
    return flat[0].lower() + flat[1:], " ".join(does.removeprefix("What to do: ").split())


def error_text(cause: Cause) -> str:
    """Run a cause, and return the text of its error."""
    with tempfile.TemporaryDirectory() as folder:
        error = happen(cause, Path(folder))
        assert error is not None, f"{cause.name} did not happen"
        return text_of(error, Path(folder))


def renewed(page: str, texts: Mapping[str, str]) -> str:
    """Return the page with its generated part renewed."""
    head, _, rest = page.partition(_BEGIN)
    tail = rest.partition(_END)[2]
    made = "\n".join(sections(texts))
    return f"{head}{_BEGIN}{made}{_END}{tail}"


def main() -> None:
    """Write the page."""
    texts = {cause.name: error_text(cause) for cause in CAUSES}
    PAGE.write_text(renewed(PAGE.read_text("utf-8"), texts), "utf-8")


if __name__ == "__main__":
    main()
