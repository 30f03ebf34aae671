"""Give an agent a browser of this machine: the tunnel to the server, and a Chromium to use.

Importing this package imports trio-websocket; no other module of trio_mix does.
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
