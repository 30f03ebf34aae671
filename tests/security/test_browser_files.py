"""Attacks on local files through the browser tunnel, with a real Chromium."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.hostile_browsing import open_attack
from trio_mix.browser import DEFAULT_METHODS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hostile_browsing import Attack

LOCAL = "file://"
KEY = "THE-PRIVATE-KEY"
REQUEST = """new Promise(done => {
    const request = new XMLHttpRequest();
    request.open('GET', 'URL');
    request.onloadend = () => done(request.responseText);
    request.send();
})"""
UPLOAD = b"""<form method=post enctype=multipart/form-data action=/up>
<input type=file name=f id=f></form><script>
document.ondragover = e => e.preventDefault();
document.ondrop = e => { e.preventDefault(); window.dropped = e.dataTransfer.files[0]?.name };
</script>"""


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "id_rsa"
    path.write_text(KEY)
    return path


async def texts(attack: Attack) -> str:
    """Return all that the tunnel's pages show."""
    seen = ""
    for target in (await attack.ask("Target.getTargets"))["targetInfos"]:
        attached = await attack.ask("Target.attachToTarget", targetId=target["targetId"])
        expression = "document.documentElement.innerText"
        seen += str(
            await attack.ask("Runtime.evaluate", attached["sessionId"], expression=expression)
        )
    return seen


async def test_a_navigation_to_a_file_is_denied_however_it_is_written(secret: Path) -> None:
    async with open_attack() as attack:
        for url in (
            f"{LOCAL}{secret}",
            f"FILE://{secret}",
            f" \t{LOCAL}{secret}",
            f"fi\nle://{secret}",
            f"\x00{LOCAL}{secret}",
            f"file:{secret}",
            f"view-source:{LOCAL}{secret}",
            f"blob:{LOCAL}{secret}",
            f"filesystem:{LOCAL}{secret}",
            f"about:{LOCAL}{secret}",
            f"javascript:location='{LOCAL}{secret}'",
        ):
            await attack.denied("Page.navigate", url=url)
            await attack.denied("Target.createTarget", url=url)
        for url in ("chrome://version", "about:version", "chrome://file-system", "devtools://x"):
            await attack.denied("Page.navigate", url=url)
        assert KEY not in await texts(attack)


async def test_a_page_does_not_reach_a_file_by_script_link_frame_or_redirect(secret: Path) -> None:
    url = f"{LOCAL}{secret}"
    frame = f"<iframe src='{url}'></iframe><a id=a href='{url}' target=_blank>x</a>"
    async with open_attack() as attack:
        attack.site.redirects["/to-file"] = url
        attack.site.pages["/frame"] = frame.encode()
        for page in (f"{attack.site.url}/frame", f"data:text/html,{frame}"):
            await attack.visit(page)
            for attempt in (
                f"fetch('{url}').then(r => r.text()).catch(() => 'blocked')",
                REQUEST.replace("URL", url),
                f"import('{url}').then(() => 'imported').catch(() => 'blocked')",
            ):
                assert KEY not in str(await attack.value_of(attempt))
            await attack.value_of(f"window.open('{url}'); document.getElementById('a').click()")
            await attack.value_of(f"location = '{url}'; 1")
            await attack.pause(0.3)
            assert KEY not in await texts(attack)
        await attack.ask("Page.navigate", url=f"{attack.site.url}/to-file")
        await attack.pause(0.3)
        assert KEY not in await texts(attack)


async def test_devtools_do_not_read_a_file(secret: Path) -> None:
    async with open_attack() as attack:
        await attack.visit(f"{attack.site.url}/")
        frame = (await attack.ask("Page.getFrameTree"))["frameTree"]["frame"]["id"]
        url = f"{LOCAL}{secret}"
        await attack.denied("Network.loadNetworkResource", frameId=frame, url=url, options={})
        await attack.denied("Page.getResourceContent", frameId=frame, url=url)
        await attack.denied("IO.read", handle="1")
        await attack.denied("Fetch.enable")
        await attack.denied("Page.printToPDF", headerTemplate=f"<iframe src='{url}'></iframe>")
        await attack.denied("Page.printToPDF", transferMode="ReturnAsStream")
        await attack.denied("Page.createIsolatedWorld", frameId=frame, grantUniveralAccess=True)
        await attack.denied("DOM.getFileInfo", objectId="1")
        await attack.denied("Extensions.loadUnpacked", path=str(secret.parent))


async def test_only_files_of_the_tunnels_folder_are_uploaded(secret: Path) -> None:
    async with open_attack() as attack:
        attack.site.pages["/form"] = UPLOAD
        await attack.visit(f"{attack.site.url}/form")
        root = (await attack.ask("DOM.getDocument"))["root"]["nodeId"]
        field = (await attack.ask("DOM.querySelector", nodeId=root, selector="#f"))["nodeId"]
        folder = attack.tunnel.folder
        assert folder is not None
        (folder / "link").symlink_to(secret)
        for path in (str(secret), f"{folder}/../{secret.name}", "link", "../x"):
            await attack.denied("DOM.setFileInputFiles", nodeId=field, files=[path])
            data = {"items": [], "files": [path], "dragOperationsMask": 1}
            for kind in ("dragEnter", "dragOver", "drop"):
                await attack.denied("Input.dispatchDragEvent", type=kind, x=9, y=9, data=data)
        assert await attack.value_of("f.files.length") == 0
        assert await attack.value_of("window.dropped === undefined")
        (folder / "report.txt").write_text("for the web")
        assert await attack.ask("DOM.setFileInputFiles", nodeId=field, files=["report.txt"]) == {}
        assert await attack.value_of("f.files[0].text()") == "for the web"


async def test_downloads_are_stored_in_the_tunnels_folder_only(tmp_path: Path) -> None:
    target = tmp_path / "autostart"
    target.mkdir()
    async with open_attack() as attack:
        for method in ("Browser.setDownloadBehavior", "Page.setDownloadBehavior"):
            await attack.denied(method, behavior="allow", downloadPath=str(target))
        name = f"../../../../../../../..{target}/evil.desktop"
        attack.site.downloads |= {"/plain": "report.txt", "/evil": name, "/dots": ".bashrc"}
        for path in ("/plain", "/evil", "/dots"):
            await attack.ask("Page.navigate", url=attack.site.url + path)
            await attack.pause(0.5)
        assert attack.tunnel.folder is not None
        folder = attack.tunnel.folder / "downloads"
        stored = sorted(path.name for path in folder.iterdir())
        assert "report.txt" in stored
        assert len(stored) == 3, stored
        assert (folder / "report.txt").read_bytes() == b"DOWNLOADED"
        assert folder.stat().st_mode & 0o077 == 0
        assert list(target.iterdir()) == []
    assert not folder.exists()


async def test_a_download_does_not_replace_a_file_of_the_user(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir(mode=0o700)
    (files / "report.txt").write_text("of the user")
    async with open_attack(folder=files) as attack:
        attack.site.downloads["/evil"] = "report.txt"
        await attack.ask("Page.navigate", url=f"{attack.site.url}/evil")
        link = (
            "Object.assign(document.createElement('a'), {href: 'data:,x', download: 'report.txt'})"
        )
        await attack.value_of(f"{link}.click()")
        await attack.pause(1)
    assert (files / "report.txt").read_text() == "of the user"
    assert (files / "downloads" / "report.txt").exists()


async def test_a_path_of_a_method_that_the_user_added_stays_in_the_folder(tmp_path: Path) -> None:
    methods = DEFAULT_METHODS | {"Browser.setDownloadBehavior"}
    async with open_attack(policy={"methods": methods}) as attack:
        await attack.denied(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
        )
        made = await attack.ask("Browser.setDownloadBehavior", behavior="deny")
        assert made == {}


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may act as another user"
)
async def test_another_user_reads_neither_the_profile_nor_the_folder() -> None:
    async with open_attack() as attack:
        folder, home = attack.tunnel.folder, attack.chromium._home
        assert folder is not None
        assert home is not None
        pid = os.fork()
        if pid == 0:  # the child, as another user
            code = 1
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                code = 0
                for path in (folder, home, home / "profile"):
                    try:
                        os.listdir(path)
                        code = 2
                    except PermissionError:
                        pass
            finally:
                os._exit(code)
        _, status = await trio.to_thread.run_sync(os.waitpid, pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
