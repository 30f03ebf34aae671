"""The part of a browser that belongs to one tunnel: a browser context, its targets and sessions.

Rules that the tests cite:

1. A tunnel has a browser context of its own, without the cookies, the pages and the profile of any
   other. It is disposed of with the tunnel. Only the endpoint of one page has none.
2. The context reaches the network only through the filtering proxy, whose credential is stored in
   the context before the first command.
3. A command without ``sessionId`` is sent to the browser if its domain is one of the browser's.
   Otherwise it is sent to the first page of the context, which is attached or created when needed.
   The order of such commands is kept.
4. A command whose session is detached or whose page has crashed is answered with an error at once:
   the browser would never answer it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from trio_mix.browser._commands import error
from trio_mix.browser._devtools import DevTools, Outcome, PendingCall, text_of
from trio_mix.browser._errors import BrowserGone
from trio_mix.browser._folder import DOWNLOADS
from trio_mix.browser._methods import BROWSER_DOMAINS
from trio_mix.browser._proxy import SIGN_IN_URL

if TYPE_CHECKING:
    from pathlib import Path

    from trio_mix.browser._proxy import FilteringProxy

_KINDS: Final = frozenset(("iframe", "page", "service_worker", "shared_worker", "worker"))
"""The types of targets that run content of the web; others are parts of the browser."""
_SCHEMES: Final = frozenset(("", "about", "blob", "chrome-error", "data", "http", "https"))
_CLOSED: Final = "its target was closed or detached"
_CRASHED: Final = "its page has crashed"


@attrs.frozen
class _Target:
    kind: str
    url: str = ""


@final
class BrowserContext:
    """A browser context, or one page without a context.

    Args:
      devtools: the connection to the browser.
      proxy: the filtering proxy; None: the browser's own way to the network.
      folder: the tunnel's folder, with one for downloads in it; None: downloads are denied.
      page_only: whether the connection is to one page instead of a browser.
    """

    def __init__(
        self,
        devtools: DevTools,
        *,
        proxy: FilteringProxy | None,
        folder: Path | None,
        page_only: bool = False,
    ) -> None:
        self._devtools = devtools
        self._proxy = proxy
        self._folder = folder
        self._page_only = page_only
        self._context_id: str | None = None
        self._targets: dict[str, _Target] = {}
        self._sessions: dict[str, str] = {}
        self._page: str | None = None
        self._unrouted, self._to_route = trio.open_memory_channel[PendingCall](math.inf)

    @property
    def devtools(self) -> DevTools:
        """The connection to the browser."""
        return self._devtools

    @property
    def context_id(self) -> str | None:
        """The id of the context, or None without one."""
        return self._context_id

    def owns_target(self, target_id: object) -> bool:
        """Return whether a target belongs to the context."""
        return target_id in self._targets

    def owns_session(self, session_id: object) -> bool:
        """Return whether a session was attached to a target of the context."""
        return session_id in self._sessions

    def shows_local_page(self, session_id: str | None) -> bool:
        """Return whether the page of a session has an address that agents may not navigate to."""
        target = self._targets.get(self._sessions.get(session_id or self._page or "", ""))
        return target is not None and target.url.partition(":")[0].lower() not in _SCHEMES

    async def open(self, nursery: trio.Nursery) -> None:
        """Create the context with its first page.

        Raises:
          BrowserGone: the browser does not support what a tunnel needs.
        """
        if self._page_only:
            await trio.lowlevel.checkpoint()
            return
        params: dict[str, object] = {"disposeOnDetach": True}
        if self._proxy is not None:
            params |= {"proxyServer": self._proxy.url, "proxyBypassList": "<-loopback>"}
        made = await self._devtools.call("Target.createBrowserContext", params)
        self._context_id = text_of(made, "browserContextId")
        if self._context_id is None:
            raise self._unusable("did not create a browser context", made)
        self._devtools.listen(self._notice)
        await self._require("Target.setDiscoverTargets", {"discover": True})
        download: dict[str, object] = {"behavior": "deny"}
        if self._folder is not None:
            download = {"behavior": "allow", "downloadPath": str(self._folder / DOWNLOADS)}
        download["browserContextId"] = self._context_id
        await self._require("Browser.setDownloadBehavior", download)
        page = await self._find_page()
        if not isinstance(page, str):
            raise self._unusable("did not open a page", page)
        if self._proxy is not None:
            await self._sign_in(page, self._proxy)
        nursery.start_soon(self._route)

    async def dispose(self, timeout: float) -> None:
        """Close the context with its pages; shielded and bounded."""
        context_id, self._context_id = self._context_id, None
        if context_id is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._devtools.unlisten(self._notice)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + timeout):
            await self._devtools.call(
                "Target.disposeBrowserContext", {"browserContextId": context_id}
            )

    def submit(self, call: PendingCall) -> None:
        """Send a checked command to where it belongs (rule 3)."""
        if call.session is None and not self._page_only:
            self._unrouted.send_nowait(call)
        else:
            self._post(call)

    def cancel(self, call: PendingCall) -> None:
        """Drop the outcome of a command."""
        self._devtools.cancel(call)

    # Opening

    async def _require(self, method: str, params: dict[str, object]) -> None:
        outcome = await self._devtools.call(method, params)
        if "result" not in outcome:
            raise self._unusable(f"refused {method}", outcome)

    async def _sign_in(self, page: str, proxy: FilteringProxy) -> None:
        """Store the proxy's credential in the context (rule 2)."""

        def answer(method: str, params: Mapping[str, object], session: str | None) -> None:
            if session != page:
                return
            request: dict[str, object] = {"requestId": params.get("requestId")}
            if method == "Fetch.requestPaused":
                self._send_only("Fetch.continueRequest", request, page)
            elif method == "Fetch.authRequired":
                challenge = params.get("authChallenge")
                response: dict[str, object] = {"response": "CancelAuth"}
                if isinstance(challenge, Mapping) and challenge.get("source") == "Proxy":
                    response = {
                        "response": "ProvideCredentials",
                        "username": proxy.user,
                        "password": proxy.password,
                    }
                answered = request | {"authChallengeResponse": response}
                self._send_only("Fetch.continueWithAuth", answered, page)

        before = proxy.sign_ins
        pattern = {"urlPattern": f"{SIGN_IN_URL}*"}
        self._devtools.listen(answer)
        try:
            await self._devtools.call(
                "Fetch.enable", {"handleAuthRequests": True, "patterns": [pattern]}, page
            )
            outcome = await self._devtools.call("Page.navigate", {"url": SIGN_IN_URL}, page)
            await self._devtools.call("Fetch.disable", None, page)
        finally:
            self._devtools.unlisten(answer)
        if proxy.sign_ins == before:
            raise self._unusable("does not use the filtering proxy of this machine", outcome)

    def _unusable(self, problem: str, outcome: Outcome) -> BrowserGone:
        failure = outcome.get("error")
        reason = failure.get("message") if isinstance(failure, Mapping) else None
        reason = reason or text_of(outcome, "errorText") or "no reason was given"
        return BrowserGone(
            f"The browser at {self._devtools.shown} {problem}: {reason}. Use another browser, for"
            " example one of trio_mix.browser.launch_chromium().",
            browser=self._devtools.shown,
        )

    # Commands

    def _send_only(self, method: str, params: dict[str, object], session: str | None) -> None:
        self._devtools.submit(PendingCall(method, params, session, lambda _: None))

    async def _route(self) -> None:
        async for call in self._to_route:
            if call.cancelled:
                continue
            if call.method.partition(".")[0] not in BROWSER_DOMAINS:
                await self._post_to_page(call)
            else:
                self._post(call)

    async def _post_to_page(self, call: PendingCall) -> None:
        page = await self._find_page()
        if call.cancelled:
            return
        if isinstance(page, str):
            call.session = page
            self._post(call)
        else:
            call.done(page)

    def _post(self, call: PendingCall) -> None:
        method, done = call.method, call.done
        if method == "Browser.close":
            self._close_pages()
            done({"result": {}})
            return
        if method.startswith("Target."):
            call.done = lambda outcome: done(self._own_outcome(method, call.params, outcome))
        self._devtools.submit(call)

    def _close_pages(self) -> None:
        pages = [each for each, target in self._targets.items() if target.kind == "page"]
        for target_id in pages:
            del self._targets[target_id]
            self._send_only("Target.closeTarget", {"targetId": target_id}, None)
        self._page = None

    def _own_outcome(
        self, method: str, params: Mapping[str, object] | None, outcome: Outcome
    ) -> Outcome:
        """Learn from the answer to a command of the agent; leave out what is not the tunnel's."""
        if (target_id := text_of(outcome, "targetId")) and method == "Target.createTarget":
            self._targets.setdefault(target_id, _Target("page"))
        if (session := text_of(outcome, "sessionId")) and method == "Target.attachToTarget":
            self._sessions[session] = str((params or {}).get("targetId"))
        if method == "Target.getTargets":
            result = outcome.get("result")
            infos = result.get("targetInfos") if isinstance(result, Mapping) else None
            own = [info for info in infos if self._is_own(info)] if isinstance(infos, list) else []
            return {"result": {"targetInfos": own}} if "result" in outcome else outcome
        return outcome

    async def _find_page(self) -> str | Outcome:
        """Return the session of the page for commands without one, or an error."""
        if self._page is not None:
            return self._page  # noqa: ASYNC910 - the known page needs no wait
        pages = (each for each, target in self._targets.items() if target.kind == "page")
        target = next(pages, None)
        if target is None:
            made = await self._devtools.call(
                "Target.createTarget", {"url": "about:blank", "browserContextId": self._context_id}
            )
            target = text_of(made, "targetId")
            if target is None:
                return made if "error" in made else error("The browser did not create a page")
            self._targets.setdefault(target, _Target("page"))
        attached = await self._devtools.call(
            "Target.attachToTarget", {"targetId": target, "flatten": True}
        )
        self._page = text_of(attached, "sessionId")
        if self._page is None:
            return attached
        self._sessions[self._page] = target
        return self._page

    # Events

    def _is_own(self, info: object) -> bool:
        return (
            isinstance(info, Mapping)
            and info.get("browserContextId") == self._context_id
            and info.get("type") in _KINDS
        )

    def _notice(self, method: str, params: Mapping[str, object], session: str | None) -> None:
        info, target = params.get("targetInfo"), params.get("targetId")
        if method in ("Target.targetCreated", "Target.targetInfoChanged"):
            if isinstance(info, Mapping) and self._is_own(info):
                target_id = str(info.get("targetId"))
                # A page that is being closed may still change.
                if method == "Target.targetCreated" or target_id in self._targets:
                    shown = _Target(str(info.get("type")), str(info.get("url", "")))
                    self._targets[target_id] = shown
        elif method == "Target.attachedToTarget":
            if isinstance(info, Mapping) and self._is_own(info):
                self._sessions[str(params.get("sessionId"))] = str(info.get("targetId"))
        elif method == "Target.targetDestroyed":
            self._targets.pop(str(target), None)
        elif method == "Target.targetCrashed":
            for own_session, own_target in self._sessions.items():
                if own_target == target:
                    self._devtools.fail_session(own_session, _CRASHED)
        elif method == "Target.detachedFromTarget":
            self._detached(params.get("sessionId"))
        elif method == "Inspector.targetCrashed":
            self._devtools.fail_session(session, _CRASHED)

    def _detached(self, session: object) -> None:
        if self._sessions.pop(str(session), None) is None:
            return
        if session == self._page:
            self._page = None
        self._devtools.fail_session(session, _CLOSED)
