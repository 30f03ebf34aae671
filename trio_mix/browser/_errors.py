"""The errors of a browser and its tunnel."""

from __future__ import annotations

from trio_mix.errors import StreamError, TrioMixError


class ChromiumNotFound(TrioMixError):
    """No Chromium is installed, or the named program does not exist.

    What to do: Install one, or name the program with ``executable=``.
    """


class ChromiumFailed(TrioMixError):
    """A Chromium was launched and did not become ready.

    What to do: Run the program by hand, as the message says; ``output`` is the end of its log.

    Attributes:
      returncode: its exit code (negative: the signal), or ``None`` if it was still running.
      output: the end of what it wrote to stderr.
    """

    def __init__(self, message: str, *, returncode: int | None = None, output: str = "") -> None:
        super().__init__(message)
        self.returncode = returncode
        self.output = output


class BrowserGone(StreamError):
    """The browser's DevTools cannot be reached, or the connection to them was lost.

    What to do: Start the browser with its DevTools enabled, and open a new tunnel to it.

    Attributes:
      browser: the address of the DevTools: scheme, host and port.
    """

    def __init__(self, message: str, *, browser: str, url: str = "", session_id: str = "") -> None:
        super().__init__(message, url=url, session_id=session_id)
        self.browser = browser


class TunnelRefused(StreamError):
    """The server refused this tunnel, and another attempt would be refused as well.

    What to do: Check the token and the session; the server's answer is in ``body``.

    Attributes:
      status_code: the HTTP status of the answer to the handshake.
      body: the beginning of the body of that answer, secrets masked.
    """

    def __init__(
        self, message: str, *, status_code: int, body: str, url: str = "", session_id: str = ""
    ) -> None:
        super().__init__(message, url=url, session_id=session_id)
        self.status_code = status_code
        self.body = body
