"""What can go wrong with a browser and its tunnel, beyond what can with any stream.

What it knows: what happened, where, and what to do about it.
What it must never know: a token, or the rest of an address that may hold one.
"""

from __future__ import annotations

from trio_mix.errors import StreamError, TrioMixError

__all__ = ["BrowserGone", "ChromiumFailed", "ChromiumNotFound", "TunnelRefused"]


class ChromiumNotFound(TrioMixError):
    """There is no Chromium to launch.

    What to do: Install one, or name the program with ``executable=``.
    """


class ChromiumFailed(TrioMixError):
    """A Chromium was launched, and never offered its DevTools.

    What to do: Run the program by hand, as the text says; ``output`` has its last words.

    Attributes:
      returncode: what it ended with (negative: the signal), or ``None`` where it was still running.
      output: the end of what it wrote to stderr.
    """

    def __init__(self, message: str, *, returncode: int | None = None, output: str = "") -> None:
        super().__init__(message)
        self.returncode = returncode
        self.output = output


class BrowserGone(StreamError):
    """The browser's DevTools cannot be reached, or their connection was lost.

    What to do: Start the browser, with its DevTools open, and open a new tunnel to it.

    Attributes:
      browser: the DevTools' address: scheme, host and port.
    """

    def __init__(self, message: str, *, browser: str, url: str = "", session_id: str = "") -> None:
        super().__init__(message, url=url, session_id=session_id)
        self.browser = browser


class TunnelRefused(StreamError):
    """The server does not want this tunnel, and asking again would not help.

    What to do: Check the token and the session: the server's answer is in ``body``.

    Attributes:
      status_code: the HTTP status that the handshake was answered with.
      body: the beginning of that answer's body, secrets masked.
    """

    def __init__(
        self, message: str, *, status_code: int, body: str, url: str = "", session_id: str = ""
    ) -> None:
        super().__init__(message, url=url, session_id=session_id)
        self.status_code = status_code
        self.body = body
