"""Find and open the DevTools of a browser that the user started."""

from __future__ import annotations

import ipaddress
import json
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix._http import Http, Target
from trio_mix._http._sockets import TrioBackend
from trio_mix.browser._devtools import MAX_MESSAGE, DevTools
from trio_mix.browser._endpoint import address_of
from trio_mix.browser._errors import BrowserGone
from trio_mix.browser._policy import Policy
from trio_mix.browser._transport import TransportLost
from trio_mix.browser._websocket import WebSocket, WebSocketRefused
from trio_mix.errors import ConfigurationError, TransportError

if TYPE_CHECKING:
    import ssl

    from trio_mix.browser._chromium import Chromium
    from trio_mix.browser._settings import TunnelSettings


@attrs.frozen
class BrowserAddress:
    """The address of a browser's DevTools; only its origin may be shown.

    Raises:
      ConfigurationError: it is not an address.
    """

    cdp_url: str = attrs.field(repr=False)
    shown: str = attrs.field(init=False)
    """The origin: the rest of the address may be a secret."""
    _target: Target = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        scheme = self.cdp_url.partition("://")[0].lower()
        if scheme not in ("ws", "wss", "http", "https"):
            raise ConfigurationError(
                f"open_tunnel(cdp_url=…): the address of a browser's DevTools must begin with ws://"
                f" or http://, not with {scheme[:10]!r}."
            )
        try:
            target = Target.parse(_http_form(self.cdp_url))
        except ConfigurationError:
            raise ConfigurationError("open_tunnel(cdp_url=…): not a valid URL.") from None
        object.__setattr__(self, "_target", target)
        object.__setattr__(self, "shown", f"{scheme}://{target.authority.decode('ascii')}")

    @property
    def is_page(self) -> bool:
        """Whether it is the endpoint of one page."""
        return "/devtools/page/" in self._target.path.decode("ascii")

    @property
    def is_local(self) -> bool:
        """Whether the browser runs on this machine."""
        host = self._target.host.strip("[]").lower()
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    async def open(
        self, nursery: trio.Nursery, settings: TunnelSettings, ssl_context: ssl.SSLContext | None
    ) -> DevTools:
        """Connect to the browser within ``connect_timeout``.

        Raises:
          BrowserGone: nothing answers at the address, or it is not a browser.
        """
        limit = settings.connect_timeout
        problem = f"no answer within {limit:g} s"
        with trio.move_on_after(limit):
            target = Target.parse(_http_form(await self._websocket_url(limit)))
            address = address_of(target, target.path.decode("ascii"), ssl_context, {})
            socket = WebSocket(address, connect=settings.connect, max_message=MAX_MESSAGE)
            devtools = DevTools(
                socket,
                shown=self.shown,
                timeout=settings.command_timeout,
                close_timeout=settings.close_timeout,
            )
            try:
                await devtools.open(nursery)
                return devtools
            except TransportLost as lost:
                problem = str(lost)
            except WebSocketRefused as refused:
                problem = f"the handshake was answered HTTP {refused.status_code}"
        raise self._not_found(problem)

    async def _websocket_url(self, timeout: float) -> str:
        """Return the WebSocket URL; an ``http://`` address is queried for it."""
        if self.cdp_url[:2].lower() == "ws":
            await trio.lowlevel.checkpoint()
            return self.cdp_url
        # Without the proxies of the environment: DevTools are local, or on the same network.
        http = Http(network_backend=TrioBackend())
        problem = "the answer is not that of a browser's DevTools"
        try:
            base = self.cdp_url.partition("?")[0].rstrip("/")
            response = await http.request(
                "GET", f"{base}/json/version", headers={}, timeout=timeout
            )
            value = json.loads(response.body)
            if isinstance(value, dict) and isinstance(value.get("webSocketDebuggerUrl"), str):
                found: str = value["webSocketDebuggerUrl"]
                Target.parse(_http_form(found))
                return found
        except TransportError as failure:
            problem = getattr(failure, "reason", "no answer")
        except (ValueError, RecursionError, ConfigurationError):
            pass
        finally:
            await http.aclose()
        raise self._not_found(problem)

    def _not_found(self, problem: str) -> BrowserGone:
        return BrowserGone(
            f"No browser can be reached at {self.shown}: {problem}. Start one with"
            " --remote-debugging-port, or with trio_mix.browser.launch_chromium().",
            browser=self.shown,
        )


def browser_source(
    browser: Chromium | None, cdp_url: str | None, policy: Policy | None
) -> Chromium | BrowserAddress:
    """Return where the browser is.

    Raises:
      ConfigurationError: the arguments contradict each other, or the policy cannot be enforced.
    """
    if browser is not None:
        if cdp_url is not None or policy is not None:
            raise ConfigurationError(
                "open_tunnel(browser=…): pass no cdp_url=, and pass policy= to launch_chromium()."
            )
        return browser
    if cdp_url is None:
        raise ConfigurationError(
            "open_tunnel(): pass browser=, a Chromium of launch_chromium(), or the cdp_url= of a"
            " browser that you started."
        )
    address = BrowserAddress(cdp_url)
    if (policy or Policy()).filter_network:
        problem = None
        if not address.is_local:
            problem = "it is not on this machine"
        elif address.is_page:
            problem = "it is the endpoint of one page, whose network belongs to the browser"
        if problem is not None:
            raise ConfigurationError(
                f"open_tunnel(cdp_url=…): the network of the browser at {address.shown} cannot be"
                f" filtered: {problem}. Use the endpoint of a browser on this machine; or pass"
                " policy=Policy(filter_network=False), if the agent may reach every host that the"
                " browser reaches."
            )
    return address


def _http_form(url: str) -> str:
    """Return the URL of a WebSocket with the scheme of its HTTP handshake."""
    for scheme, http in (("ws://", "http://"), ("wss://", "https://")):
        if url[: len(scheme)].lower() == scheme:
            return http + url[len(scheme) :]
    return url
