"""Find a Chromium, and the command line and environment to start it with."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trio_mix.browser._errors import ChromiumFailed, ChromiumNotFound
from trio_mix.browser._folder import new_private_folder
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VARIABLE: Final = "TRIO_MIX_CHROMIUM"
_NAMES: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
_MAC: Final = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
_FLAGS: Final = (
    "--remote-debugging-pipe",
    "--no-startup-window",
    "--deny-permission-prompts",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-client-side-phishing-detection",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-features=DialMediaRouteProvider,MediaRouter,OptimizationHints,Translate",
    "--disable-gpu",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-pings",
    "--password-store=basic",
    "--use-mock-keychain",
)
_NETWORK: Final = (
    "--proxy-bypass-list=<-loopback>",
    # Connections that do not use the proxy, now or in a later version, have no addresses.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--dns-prefetch-disable",
    "--disable-quic",
    # Without UDP outside of the proxy; the second is the name in older versions.
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
)
_OWN: Final[dict[str, str]] = {
    "--no-sandbox": "pass sandbox=False instead",
    "--disable-setuid-sandbox": "pass sandbox=False instead",
    "--disable-namespace-sandbox": "pass sandbox=False instead",
    "--user-data-dir": "the profile is always a new one",
    "--headless": "pass headless= instead",
    "--remote-debugging-pipe": "it is always there",
    "--remote-debugging-port": "start the browser yourself, and pass cdp_url= to open_tunnel()",
    "--remote-debugging-address": "start the browser yourself, and pass cdp_url= to open_tunnel()",
}
_PROXY: Final = ("--proxy-", "--no-proxy-server", "--winhttp-proxy", "--host-resolver-rules")
_NO_FILTER: Final = "pass policy=Policy(filter_network=False) to use a network of your own"
_SECRET: Final = re.compile(
    r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|_PROXY\Z|\AMIX_|\ATRIO_MIX_", re.IGNORECASE
)
_SHELL: Final = "/bin/sh"
_PROGRAMS: Final = "programs"
_OPENERS: Final = ("xdg-open", "xdg-email", "xdg-settings", "xdg-mime", "gio", "gvfs-open")
# Chromium reads commands from descriptor 3 and writes answers to descriptor 4.
_DESCRIPTORS: Final = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null'
# Chromium creates a socket in its temporary folder; the path of a socket has at most 107 bytes.
_LONGEST_BASE: Final = 30


def find_chromium(executable: str | os.PathLike[str] | None = None) -> str:
    """Return the path of a Chromium: the named one, the environment's, or the first on the PATH.

    Raises:
      ChromiumNotFound: there is none.
    """
    named = os.fspath(executable) if executable is not None else os.environ.get(VARIABLE, "")
    if named:
        found = shutil.which(named)
        if found is None:
            source = "executable=" if executable is not None else f"The environment's {VARIABLE}="
            raise ChromiumNotFound(f"{source}{named!r} is not an executable program. Fix the path.")
        return found
    for name in _NAMES + (_MAC if sys.platform == "darwin" else ()):
        if (found := shutil.which(name)) is not None:
            return found
    raise ChromiumNotFound(
        f"No Chromium was found: none of {', '.join(_NAMES)} is on the PATH. Install one"
        f" (Debian: apt-get install chromium), pass executable=, or set {VARIABLE}."
    )


def check_arguments(args: Sequence[str], *, filtered: bool) -> tuple[str, ...]:
    """Return the caller's arguments.

    Raises:
      ConfigurationError: one of them would undo what `launch_chromium` promises.
    """
    for argument in args:
        name = argument.partition("=")[0]
        remedy = _OWN.get(name)
        if filtered and name.startswith(_PROXY):
            remedy = _NO_FILTER
        if remedy is not None:
            raise ConfigurationError(f"launch_chromium(args=…): {name} is not accepted: {remedy}.")
    return tuple(args)


def chromium_command(
    program: str,
    home: Path,
    args: Sequence[str],
    *,
    headless: bool,
    sandbox: bool,
    proxy_url: str | None,
) -> list[str]:
    """Return the command that starts a Chromium whose pipes are the standard streams.

    Raises:
      ChromiumFailed: it cannot be started like this.
    """
    if os.name != "posix":
        raise ChromiumFailed(
            "launch_chromium() needs pipes that this system does not have. Start a browser with"
            " --remote-debugging-port, and pass cdp_url= to open_tunnel()."
        )
    if sandbox and os.geteuid() == 0:
        raise ChromiumFailed(
            "Chromium does not start as root with its sandbox. Run the program as another user; or"
            " pass launch_chromium(sandbox=False), if a page that takes over the browser may have"
            " the rights of root on this machine."
        )
    command = [_SHELL, "-c", _DESCRIPTORS, "sh", program]
    command += [f"--user-data-dir={home / 'profile'}", *_FLAGS]
    if proxy_url is not None:
        command += [f"--proxy-server={proxy_url}", *_NETWORK]
    if headless:
        command.append("--headless")
    if not sandbox:
        command.append("--no-sandbox")
    return [*command, *args]


def environment(home: Path) -> dict[str, str]:
    """Return the environment for the browser: the program's, without its secrets.

    The folder of `new_home` comes first on its PATH.
    """
    inherited: Mapping[str, str] = os.environ
    kept = {name: value for name, value in inherited.items() if not _SECRET.search(name)}
    path = os.pathsep.join((str(home / _PROGRAMS), kept.get("PATH", os.defpath)))
    return {**kept, "TMPDIR": str(home), "PATH": path}


def new_home() -> Path:
    """Create the private folder for the profile and for temporary files.

    It also has programs in place of those that Chromium runs to open a URL in another program: a
    page can make it open a ``mailto:`` URL without a question.
    """
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) > _LONGEST_BASE and Path("/tmp").is_dir():  # noqa: S108
        base = "/tmp"  # noqa: S108 - a private folder is created in it
    home = new_private_folder("trio-mix-chromium-", base)
    programs = home / _PROGRAMS
    programs.mkdir(mode=0o700)
    for name in _OPENERS:
        program = programs / name
        program.write_text(f"#!{_SHELL}\nexit 1\n")
        program.chmod(0o700)
    return home
