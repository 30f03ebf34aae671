"""Give an agent a browser of this machine: the tunnel to the server, and a Chromium to use.

Importing this package imports trio-websocket; of the others, only `trio_mix.relay` does.
"""

from trio_mix._public import publish
from trio_mix.browser._chromium import Chromium as Chromium
from trio_mix.browser._chromium import launch_chromium as launch_chromium
from trio_mix.browser._endpoint import TokenSource as TokenSource
from trio_mix.browser._errors import BrowserGone as BrowserGone
from trio_mix.browser._errors import ChromiumFailed as ChromiumFailed
from trio_mix.browser._errors import ChromiumNotFound as ChromiumNotFound
from trio_mix.browser._errors import TunnelRefused as TunnelRefused
from trio_mix.browser._filter import OnCommand as OnCommand
from trio_mix.browser._methods import DEFAULT_METHODS as DEFAULT_METHODS
from trio_mix.browser._policy import BrowserCommand as BrowserCommand
from trio_mix.browser._policy import Policy as Policy
from trio_mix.browser._statistics import TunnelStatistics as TunnelStatistics
from trio_mix.browser._tunnel import Tunnel as Tunnel
from trio_mix.browser._tunnel import open_tunnel as open_tunnel
from trio_mix.browser._websocket import Connect as Connect

__all__ = [
    "DEFAULT_METHODS",
    "BrowserCommand",
    "BrowserGone",
    "Chromium",
    "ChromiumFailed",
    "ChromiumNotFound",
    "Connect",
    "OnCommand",
    "Policy",
    "TokenSource",
    "Tunnel",
    "TunnelRefused",
    "TunnelStatistics",
    "launch_chromium",
    "open_tunnel",
]

publish(globals())
