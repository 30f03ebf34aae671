"""The check of single commands. Rules of `trio_mix.browser._policy`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from trio_mix.browser import DEFAULT_METHODS, Policy
from trio_mix.browser._policy import CommandChecker, CommandDenied
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


LOCAL = "file://"


class Own:
    """Targets and sessions whose names say that they are the tunnel's."""

    def __init__(self, context_id: str | None = "context", *, local: bool = False) -> None:
        self.context_id = context_id
        self.local = local

    def owns_target(self, target_id: object) -> bool:
        return str(target_id).startswith("own")

    def owns_session(self, session_id: object) -> bool:
        return str(session_id).startswith("own")

    def shows_local_page(self, session_id: str | None) -> bool:
        return self.local and session_id is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path.resolve()


@pytest.fixture
def checker(folder: Path) -> CommandChecker:
    return CommandChecker(Policy(), folder, Own())


def denial(checker: CommandChecker, method: str, session: str | None = None, **params: Any) -> str:
    with pytest.raises(CommandDenied) as caught:
        checker.check(method, params, session)
    return str(caught.value)


def test_only_listed_methods_are_permitted(checker: CommandChecker) -> None:
    for method in (
        *("SystemInfo.getInfo", "IO.read", "IO.close", "Fetch.enable", "Fetch.continueRequest"),
        *("Browser.setDownloadBehavior", "Browser.grantPermissions", "Browser.getWindowForTarget"),
        *("Browser.getBrowserCommandLine", "Browser.crash", "Page.setDownloadBehavior"),
        *("Target.createBrowserContext", "Target.attachToBrowserTarget", "Target.setAutoAttach"),
        *(
            "Target.exposeDevToolsProtocol",
            "Target.sendMessageToTarget",
            "Target.getBrowserContexts",
        ),
        *("Target.setRemoteLocations", "Target.autoAttachRelated", "Target.disposeBrowserContext"),
        *("Network.loadNetworkResource", "Network.setExtraHTTPHeaders", "Network.getAllCookies"),
        *("Extensions.loadUnpacked", "Storage.getCookies", "Tracing.start", "DOM.getFileInfo"),
        *("Security.setIgnoreCertificateErrors", "FileSystem.getDirectory", "page.navigate", ""),
        *("Page.navigate ", "Page", "Page.navigate.x", "Page.Navigate"),
    ):
        assert "not in browser.Policy(methods=" in denial(checker, method), method
    for method in ("Page.captureScreenshot", "Runtime.evaluate", "Browser.getVersion"):
        assert checker.check(method, None, None) == {}


def test_only_web_urls_are_permitted(checker: CommandChecker) -> None:
    for url in (
        *("http://a/", "https://a.b:1/c?d#e", "HTTPS://A/", "data:text/html,x", "about:blank"),
        *(" http://a/", "about:blank#x", "da\nta:text/html,x", "http:\\\\a"),
    ):
        assert checker.check("Page.navigate", {"url": url}, None) == {"url": url}
    refused: list[object] = [
        *(
            f"{LOCAL}/etc/passwd",
            "FILE:///x",
            f" {LOCAL}/x",
            "fi\tle:///x",
            f"\x00{LOCAL}/x",
            "//a",
        ),
        *(f"view-source:{LOCAL}/x", "view-source:http://a", "javascript:1", "chrome://version"),
        *("about:version", "about:blankx", "about:srcdoc", "devtools://x", "blob:http://a/1", ""),
        *("chrome-extension://a/b", "filesystem:http://a/b", "ftp://a", "ws://a", "/etc/passwd"),
        *(f"http:{LOCAL}/x", "C:\\x", "\\\\host\\share", "smb://a", "http", 5, None, {"a": 1}),
    ]
    for other in refused:
        for method in ("Page.navigate", "Target.createTarget"):
            assert "only http, https and data URLs" in denial(checker, method, url=other), other
    assert "only http" in denial(checker, "Network.getCookies", urls=["http://a/", f"{LOCAL}/x"])
    assert "only http" in denial(checker, "Page.getResourceContent", frameId="f", url=f"{LOCAL}/x")


def test_only_files_in_the_folder_are_permitted(checker: CommandChecker, folder: Path) -> None:
    (folder / "inside").mkdir()
    (folder / "inside" / "a.txt").write_text("a")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("..")
    permitted = {"inside/a.txt": folder / "inside/a.txt", str(folder / "b"): folder / "b"}
    permitted["inside/../c"] = folder / "c"
    for given, resolved in permitted.items():
        checked = checker.check("DOM.setFileInputFiles", {"files": [given]}, None)
        assert checked == {"files": [str(resolved)]}
    for path in (
        *("/etc/passwd", "../other", "inside/../../x", "link", "up/x", str(folder) + "x"),
        *("~/.ssh/id_rsa/../../../../etc/passwd/../../..", "a\0b", 5, None, ["nested"]),
    ):
        assert denial(checker, "DOM.setFileInputFiles", files=[path]), path
        data = {"items": [], "files": [path], "dragOperationsMask": 1}
        assert denial(checker, "Input.dispatchDragEvent", type="drop", x=1, y=1, data=data)
    without = CommandChecker(Policy(), None, Own())
    assert "no folder" in denial(without, "DOM.setFileInputFiles", files=["a"])


def test_paths_and_urls_of_methods_that_the_user_added_are_checked_as_well(folder: Path) -> None:
    methods = DEFAULT_METHODS | {"Page.setDownloadBehavior", "Extensions.loadUnpacked"}
    checker = CommandChecker(Policy(methods=methods), folder, Own())
    assert denial(checker, "Page.setDownloadBehavior", behavior="allow", downloadPath="/elsewhere")
    assert denial(checker, "Extensions.loadUnpacked", path="/elsewhere")


def test_only_own_targets_and_sessions_are_permitted(checker: CommandChecker) -> None:
    for method in ("Target.closeTarget", "Target.activateTarget", "Target.getTargetInfo"):
        assert checker.check(method, {"targetId": "own-1"}, None) == {"targetId": "own-1"}
        for target in ("other", None, 5):
            assert "target is not one of this" in denial(checker, method, targetId=target)
        assert denial(checker, method)
    attached = checker.check("Target.attachToTarget", {"targetId": "own-1", "x": 1}, None)
    assert attached == {"targetId": "own-1", "flatten": True}
    assert "flat" in denial(checker, "Target.attachToTarget", targetId="own-1", flatten=False)
    assert denial(checker, "Target.attachToTarget", targetId="other")
    assert denial(checker, "Target.detachFromTarget", sessionId="other", targetId="own-1")
    assert checker.check("Page.reload", None, "own-session") == {}
    assert "session is not one of this" in denial(checker, "Page.reload", "other-session")
    assert denial(checker, "Browser.getVersion", "own-session")


def test_a_new_target_belongs_to_the_context_of_the_tunnel(checker: CommandChecker) -> None:
    url = {"url": "about:blank"}
    cases: list[dict[str, object]] = [{}, {"browserContextId": "context"}, {"width": 100}]
    for given in cases:
        made = checker.check("Target.createTarget", url | given, None)
        assert made == url | given | {"browserContextId": "context"}
    assert "context" in denial(checker, "Target.createTarget", **url, browserContextId="default")
    assert "'forTab'" in denial(checker, "Target.createTarget", **url, forTab=True)
    assert denial(checker, "Target.createTarget")
    page = CommandChecker(Policy(), None, Own(None))
    for method in ("Target.createTarget", "Target.getTargets", "Browser.close"):
        assert "one page" in denial(page, method, **url)


def test_a_page_that_is_not_of_the_web_can_only_be_left() -> None:
    checker = CommandChecker(Policy(), None, Own(local=True))
    for method in ("Runtime.evaluate", "Page.captureScreenshot", "DOM.getDocument"):
        assert "not one of the web" in denial(checker, method)
    assert checker.check("Page.navigate", {"url": "http://a/"}, None)


def test_parameters_that_give_more_than_the_rights_of_a_page_are_denied(
    checker: CommandChecker,
) -> None:
    for method, params in (
        ("Page.createIsolatedWorld", {"frameId": "f", "grantUniveralAccess": True}),
        ("Page.createIsolatedWorld", {"frameId": "f", "grantUniversalAccess": True}),
        ("Page.printToPDF", {"transferMode": "ReturnAsStream"}),
        ("Page.printToPDF", {"headerTemplate": f"<iframe src={LOCAL}/x>"}),
        ("Input.dispatchKeyEvent", {"type": "keyDown", "commands": ["PasteAndMatchStyle"]}),
        ("Input.dispatchKeyEvent", {"type": "keyDown", "commands": "paste"}),
        ("Input.dispatchMouseEvent", {"type": "mousePressed", "button": "middle"}),
    ):
        assert denial(checker, method, **params)
    assert checker.check("Page.printToPDF", {"landscape": True}, None) == {"landscape": True}
    typed = {"type": "keyDown", "key": "a", "commands": ["selectAll"]}
    assert checker.check("Input.dispatchKeyEvent", typed, None) == typed


def test_values_that_a_script_receives_are_not_checked(checker: CommandChecker) -> None:
    params = {"functionDeclaration": "f", "arguments": [{"value": {"url": "x", "path": "/y"}}]}
    assert checker.check("Runtime.callFunctionOn", params, None) == params


def test_a_policy_with_an_invalid_entry_is_refused() -> None:
    invalid: list[dict[str, Any]] = [
        {"allow": "localhost"},
        {"allow": ["http://localhost"]},
        {"methods": "Page.navigate"},
        {"methods": ["navigate"]},
        {"methods": [5]},
    ]
    for options in invalid:
        with pytest.raises(ConfigurationError, match="Policy"):
            Policy(**options)
    policy = Policy(allow=["localhost:3000"], methods=iter(["Page.navigate"]))
    assert policy.methods == {"Page.navigate"}
    assert policy == Policy(allow=("localhost:3000",), methods=frozenset(["Page.navigate"]))
