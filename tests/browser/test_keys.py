"""Which key events are permitted."""

from __future__ import annotations

from typing import Any

from trio_mix.browser._keys import reason_against_key

ALT, CTRL, META, SHIFT = 1, 2, 4, 8


def reason(code: int = 0, modifiers: int = 0, **params: Any) -> str | None:
    return reason_against_key({"windowsVirtualKeyCode": code, "modifiers": modifiers, **params})


def test_keys_of_a_page_are_permitted() -> None:
    for code, modifiers in (
        *((code, modifiers) for code in range(48, 91) for modifiers in (0, SHIFT)),
        *((code, 0) for code in (8, 9, 13, 16, 17, 18, 27, 32, 33, 34, 46, 113, 116)),
        *((ord(letter), CTRL) for letter in "ACXZYBI"),
        *((ord(letter), META) for letter in "ACXZ"),
        *((code, CTRL | SHIFT) for code in (35, 36, 37, 38, 39, 40, ord("Z"), 16, 17)),
        *((code, ALT) for code in (37, 39, 18)),
    ):
        assert reason(code, modifiers) is None, (code, modifiers)
    assert reason_against_key({"type": "char", "text": "a"}) is None
    assert reason_against_key({"type": "keyDown", "key": "Enter", "modifiers": CTRL}) is None


def test_shortcuts_of_the_browser_are_denied() -> None:
    for code, modifiers in (
        *((ord(letter), CTRL) for letter in "TNOSWJLUHPDEFGKRVQM0123456789"),
        *((ord(letter), META) for letter in "TNOSWVQ,"),
        *((ord(letter), ALT) for letter in "DEF"),
        *((ord(letter), CTRL | SHIFT) for letter in "INTJCBVWMOA"),
        *((code, CTRL | SHIFT) for code in (46, 8, 9, 13)),
        *((ord("T"), CTRL | bits) for bits in (ALT, META, SHIFT, ALT | META | SHIFT, 16)),
        *((code, 0) for code in (112, 114, 117, 118, 121, 122, 123, 135, 166, 172, 180, 183)),
        (45, SHIFT),
        (115, ALT),
    ):
        assert reason(code, modifiers) is not None, (code, modifiers)


def test_the_other_fields_do_not_hide_a_shortcut() -> None:
    hidden = {"key": "a", "code": "KeyA", "text": "a", "unmodifiedText": "a"}
    assert reason_against_key({"windowsVirtualKeyCode": 84, "modifiers": CTRL, **hidden})
    for code, modifiers in ((84.0, CTRL), ("84", CTRL), (84, 2.0), (84, True), (None, CTRL)):
        assert reason_against_key({"windowsVirtualKeyCode": code, "modifiers": modifiers})


def test_pasting_by_an_editing_command_is_denied() -> None:
    assert reason(commands=["selectAll"]) is None
    for commands in (["Paste"], ["pasteAndMatchStyle"], "paste", {"a": "paste"}, 5):
        assert reason(commands=commands) == "the clipboard belongs to the user"
