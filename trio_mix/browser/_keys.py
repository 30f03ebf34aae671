"""Which key events an agent may send: those of a page, not the shortcuts of the browser.

Chromium applies its shortcuts to key events that come through DevTools, also without a window:
Ctrl+T opens one of the browser's own pages, Ctrl+O the dialog for files. It recognizes a shortcut
by the Windows key code and the modifiers, so these are checked; other fields cannot cause one.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - part of a public signature
from typing import Final

_CONTROL: Final = 0b0111
"""The bits of Alt, Ctrl and Meta in ``modifiers``."""
_SHIFT: Final = 0b1000
_MODIFIER_KEYS: Final = frozenset((16, 17, 18, 91, 92, 93, 224, 225))
# End, Home, Left, Up, Right, Down.
_MOVES: Final = frozenset(range(35, 41))
_Z: Final = 90
# Backspace, Tab, Enter, Space, Delete, A, B, C, I, X, Y, Z.
_EDITS: Final = frozenset((8, 9, 13, 32, 46, 65, 66, 67, 73, 88, 89, _Z))
_WITH_CONTROL: Final = _EDITS | _MOVES | _MODIFIER_KEYS
_WITH_CONTROL_AND_SHIFT: Final = _MOVES | _MODIFIER_KEYS | {_Z}
_INSERT: Final = 45
# F1 to F24, and the keys for browsers, media and programs; F2 and F5 are for pages.
_BROWSER_KEYS: Final = frozenset(range(112, 136)) - {113, 116} | frozenset(range(166, 184))


def reason_against_key(params: Mapping[str, object]) -> str | None:
    """Return why the parameters of ``Input.dispatchKeyEvent`` are denied, or None."""
    modifiers, code = params.get("modifiers", 0), params.get("windowsVirtualKeyCode", 0)
    if type(modifiers) is not int or type(code) is not int:
        return "modifiers and windowsVirtualKeyCode must be integers"
    commands = params.get("commands", [])
    if not isinstance(commands, list) or any("paste" in str(name).lower() for name in commands):
        return "the clipboard belongs to the user"
    shifted = bool(modifiers & _SHIFT)
    if code == _INSERT and shifted:
        return "the clipboard belongs to the user"
    if code in _BROWSER_KEYS:
        return "the key controls the browser"
    if modifiers & _CONTROL and code:
        permitted = _WITH_CONTROL_AND_SHIFT if shifted else _WITH_CONTROL
        if code not in permitted:
            return "the shortcut may control the browser or the clipboard"
    return None
