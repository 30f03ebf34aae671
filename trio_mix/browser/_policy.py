"""What an agent may do with the browser: the policy, and the check of one command by it.

Rules that the tests cite:

1. A method that is not listed is denied.
2. Only ``http``, ``https`` and ``data`` URLs and ``about:blank`` are permitted, in every parameter
   that can carry a URL.
3. Only files in the tunnel's folder are permitted, in every parameter that can carry a path.
4. Only the tunnel's own targets and sessions are permitted, and only while they show pages of the
   web; a new target belongs to the tunnel's context.
5. Parameters that give a page more than its own rights are denied, and so are keys that control
   the browser instead of the page.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping  # noqa: TC003 - for typing.get_type_hints
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, final

import attrs

from trio_mix.browser._addresses import AddressRules
from trio_mix.browser._keys import reason_against_key
from trio_mix.browser._methods import BROWSER_DOMAINS, DEFAULT_METHODS
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_METHOD: Final = re.compile(r"[A-Za-z]+\.[A-Za-z]+")
_URL: Final = re.compile(r"(?:https?:[/\\]{2}|data:|about:blank(?:[?#]|\Z))", re.IGNORECASE)
# Chromium ignores these characters around and inside a URL.
_IGNORED: Final = re.compile(r"\A[\x00-\x20]+|[\t\n\r]|[\x00-\x20]+\Z")
_URL_KEYS: Final = frozenset(("url", "urls"))
_PATH_KEYS: Final = frozenset(
    ("directory", "downloadPath", "file", "fileName", "filePath", "files", "path", "paths")
)
_CREATE_TARGET_KEYS: Final = frozenset(
    [
        "background",
        "browserContextId",
        "focus",
        "height",
        "left",
        "newWindow",
        "top",
        "url",
        "width",
        "windowState",
    ]
)
_FREE_VALUES: Final = frozenset(("Runtime",))
"""Domains with no parameter for a URL or a path, but with values that pages define."""
_LEAVING: Final = frozenset(
    ("Browser.getVersion", "Page.navigate", "Page.close", "Target.closeTarget", "Target.getTargets")
)
"""What is permitted on a page that is not one of the web."""
_SHOWN: Final = 80

Params: TypeAlias = dict[str, object]


def _method_set(methods: Iterable[str]) -> frozenset[str]:
    names = frozenset(methods)
    if isinstance(methods, str) or not all(
        isinstance(method, str) and _METHOD.fullmatch(method) for method in names
    ):
        raise ConfigurationError(
            "Policy(methods=…): give the full names of DevTools methods, for example"
            " browser.DEFAULT_METHODS | {'Page.crash'}."
        )
    return names


def _host_tuple(hosts: Iterable[str]) -> tuple[str, ...]:
    if isinstance(hosts, str):
        raise ConfigurationError(f"Policy(allow={hosts!r}): give a list of hosts.")
    return tuple(hosts)


@final
@attrs.frozen(kw_only=True)
class Policy:
    """What an agent may do with a browser.

    Args:
      allow: hosts that the browser may connect to although their addresses are private or loopback
        ones, as ``host`` or ``host:port``: ``["localhost:3000"]``. Every public address is
        permitted.
      methods: the DevTools methods that are permitted. Add to `DEFAULT_METHODS` with ``|``.
      filter_network: whether the browser may connect only through the filtering proxy. Without it,
        pages and the agent reach every host that this machine reaches.

    Raises:
      ConfigurationError: an entry is not a host, or a method is not a name.
    """

    allow: tuple[str, ...] = attrs.field(default=(), converter=_host_tuple)
    methods: frozenset[str] = attrs.field(
        default=DEFAULT_METHODS, converter=_method_set, repr=lambda value: f"<{len(value)} names>"
    )
    filter_network: bool = True

    def __attrs_post_init__(self) -> None:
        self._address_rules()

    def _address_rules(self) -> AddressRules:
        """Return the rules of the filtering proxy."""
        return AddressRules(self.allow)


@final
@attrs.frozen(kw_only=True)
class BrowserCommand:
    """A command of the agent that the policy permits, for ``on_command``."""

    method: str
    """The DevTools method."""
    params: Mapping[str, object]
    """Its parameters, as they are passed to the browser."""
    session_id: str | None
    """CDP's ``sessionId``: the tab, or None for the first tab or the browser."""


class CommandDenied(Exception):
    """A command is denied; the text says why."""


class OwnTargets(Protocol):
    """The targets and sessions of one tunnel."""

    @property
    def context_id(self) -> str | None:
        """The browser context, or None at the endpoint of a page."""
        ...

    def owns_target(self, target_id: object) -> bool:
        """Return whether a target belongs to the tunnel."""
        ...

    def owns_session(self, session_id: object) -> bool:
        """Return whether a session belongs to the tunnel."""
        ...

    def shows_local_page(self, session_id: str | None) -> bool:
        """Return whether the page of a session has an address that agents may not navigate to."""
        ...


@final
class CommandChecker:
    """Checks the commands of one tunnel.

    Args:
      policy: the policy.
      folder: where files may be read from, resolved; None: nowhere.
      own: the targets of the tunnel.
    """

    def __init__(self, policy: Policy, folder: Path | None, own: OwnTargets) -> None:
        self._policy = policy
        self._folder = folder
        self._own = own
        self._checks: dict[str, Callable[[Params], Params]] = {
            "Input.dispatchKeyEvent": _key_event,
            "Input.dispatchMouseEvent": _mouse_event,
            "Page.createIsolatedWorld": _isolated_world,
            "Page.printToPDF": _print,
            "Target.activateTarget": self._own_target,
            "Target.attachToTarget": self._attach,
            "Target.closeTarget": self._own_target,
            "Target.createTarget": self._create_target,
            "Target.detachFromTarget": self._detach,
            "Target.getTargetInfo": self._own_target,
        }

    def check(
        self, method: str, params: Mapping[str, object] | None, session: str | None
    ) -> Params:
        """Return the parameters with which a command may be passed to the browser.

        Raises:
          CommandDenied: it must not be.
        """
        if method not in self._policy.methods:
            raise CommandDenied("the method is not in browser.Policy(methods=…)")
        if session is not None and not self._own.owns_session(session):
            raise CommandDenied("the session is not one of this tunnel")
        domain = method.partition(".")[0]
        if domain in BROWSER_DOMAINS and session is not None and domain != "Target":
            raise CommandDenied("a command to the browser must not name a session")
        if self._own.context_id is None and (domain == "Target" or method == "Browser.close"):
            raise CommandDenied("this tunnel has one page and no other targets")
        if self._own.shows_local_page(session) and method not in _LEAVING:
            raise CommandDenied("the page is not one of the web; navigate to another first")
        checked = dict(params or {})
        if domain not in _FREE_VALUES:
            checked = self._values(checked)
        check = self._checks.get(method)
        return checked if check is None else check(checked)

    # Any parameter, however deep (rules 2 and 3)

    def _values(self, params: Params) -> Params:
        return {name: self._value(name, value) for name, value in params.items()}

    def _value(self, name: str, value: object) -> object:
        if name in _URL_KEYS:
            for url in value if isinstance(value, list) else [value]:
                _check_url(url)
        elif name in _PATH_KEYS:
            if isinstance(value, list):
                return [self._file(path) for path in value]
            return self._file(value)
        elif isinstance(value, dict):
            return self._values(value)
        elif isinstance(value, list):
            return [self._values(item) if isinstance(item, dict) else item for item in value]
        return value

    def _file(self, path: object) -> str:
        if self._folder is None:
            raise CommandDenied("this tunnel has no folder for files")
        try:
            resolved = Path(os.path.realpath(self._folder / str(path)))
        except (OSError, ValueError):
            raise CommandDenied("a path is not valid") from None
        if not isinstance(path, str) or not resolved.is_relative_to(self._folder):
            raise CommandDenied("a file is not in the tunnel's folder; name files relative to it")
        return str(resolved)

    # Targets (rule 4)

    def _own_target(self, params: Params) -> Params:
        if not self._own.owns_target(params.get("targetId")):
            raise CommandDenied("the target is not one of this tunnel")
        return params

    def _attach(self, params: Params) -> Params:
        if params.get("flatten") is False:
            raise CommandDenied("only flat sessions are permitted (flatten)")
        return {"targetId": self._own_target(params)["targetId"], "flatten": True}

    def _detach(self, params: Params) -> Params:
        session = params.get("sessionId")
        if not self._own.owns_session(session):
            raise CommandDenied("the session is not one of this tunnel")
        return {"sessionId": session}

    def _create_target(self, params: Params) -> Params:
        if "url" not in params:
            raise CommandDenied("a URL is missing")
        if unknown := params.keys() - _CREATE_TARGET_KEYS:
            raise CommandDenied(f"the parameter {_shown(min(unknown))} is not permitted")
        context = self._own.context_id
        if params.get("browserContextId", context) != context:
            raise CommandDenied("the browser context is not the one of this tunnel")
        return {**params, "browserContextId": context}


# Single methods (rule 5)


def _key_event(params: Params) -> Params:
    if (reason := reason_against_key(params)) is not None:
        raise CommandDenied(reason)
    return params


def _mouse_event(params: Params) -> Params:
    if params.get("button") == "middle":  # on X11 it pastes the user's selection
        raise CommandDenied("the clipboard belongs to the user")
    return params


def _isolated_world(params: Params) -> Params:
    if any(name.lower().startswith("grantuniver") for name in params):
        raise CommandDenied("universal access is not permitted")
    return params


def _print(params: Params) -> Params:
    if params.get("transferMode", "ReturnAsBase64") != "ReturnAsBase64":
        raise CommandDenied("only the transferMode ReturnAsBase64 is permitted")
    if "headerTemplate" in params or "footerTemplate" in params:
        raise CommandDenied("templates are not permitted")
    return params


def _check_url(url: object) -> None:
    if not isinstance(url, str) or not _URL.match(_IGNORED.sub("", url)):
        scheme = _shown(url.partition(":")[0]) if isinstance(url, str) else "no text"
        raise CommandDenied(
            f"only http, https and data URLs and about:blank are permitted, not {scheme}"
        )


def _shown(text: str) -> str:
    return repr(text[:_SHOWN])
