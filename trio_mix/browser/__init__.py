"""A browser of yours for an agent of the server's: the tunnel, and a Chromium to put at its end.

What it knows: both ends of the tunnel. What it must never know: sessions' streams and messages.

Importing it imports trio-websocket, which nothing else in trio_mix does.
"""

from trio_mix._public import publish
from trio_mix.browser._chromium import Chromium as Chromium
from trio_mix.browser._chromium import launch_chromium as launch_chromium
from trio_mix.browser._endpoint import TokenSource as TokenSource
from trio_mix.browser._errors import BrowserGone as BrowserGone
from trio_mix.browser._errors import ChromiumFailed as ChromiumFailed
from trio_mix.browser._errors import ChromiumNotFound as ChromiumNotFound
from trio_mix.browser._errors import TunnelRefused as TunnelRefused
from trio_mix.browser._statistics import TunnelStatistics as TunnelStatistics
from trio_mix.browser._tunnel import Tunnel as Tunnel
from trio_mix.browser._tunnel import open_tunnel as open_tunnel
from trio_mix.browser._websocket import Connect as Connect

__all__ = [
    "BrowserGone",
    "Chromium",
    "ChromiumFailed",
    "ChromiumNotFound",
    "Connect",
    "TokenSource",
    "Tunnel",
    "TunnelRefused",
    "TunnelStatistics",
    "launch_chromium",
    "open_tunnel",
]

publish(globals())
