"""Files of a session, and the operations that change its past: fork, rewind, callbacks.

What it knows: the requests' and answers' shapes, multipart bodies, byte ranges.
What it must never know: a disk; files are kept in memory.
"""

from __future__ import annotations

import mimetypes
import re
from email.message import Message
from typing import TYPE_CHECKING

from trio_mix.testing.server._routes import Endpoint, Problem, RouteCall, RouteResponse
from trio_mix.testing.server._session_routes import callbacks_of

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["ROUTES"]

_THUMB = re.compile(r"(\d+|w\d+|h\d+)\Z")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)\Z")


def list_files(call: RouteCall) -> RouteResponse:
    """``GET /api/sessions/{id}/files``."""
    files = call.session().row.files
    return RouteResponse([_info(call, name, *stored) for name, stored in files.items()])


def upload_file(call: RouteCall) -> RouteResponse:
    """``POST /api/sessions/{id}/files/upload``."""
    row = call.session().row
    name, content = _multipart(call)
    row.files[name] = (content, call.backend.now())
    return RouteResponse(_info(call, name, *row.files[name]), 201)


def get_file(call: RouteCall) -> RouteResponse:
    """``GET /api/sessions/{id}/files/{filename}``: whole, a range, or a made-up thumbnail."""
    content, _ = _stored(call)
    query, headers = call.exchange.request.query, call.exchange.request.headers
    kind = mimetypes.guess_type(call.params["filename"])[0] or "application/octet-stream"
    if "thumb" in query:
        if not _THUMB.match(query["thumb"]):
            raise Problem(400, "thumb must look like 100, w100 or h100")
        if not kind.startswith(("image/", "video/")):
            raise Problem(400, "only images and videos have thumbnails")
        return RouteResponse(
            b"\xff\xd8 thumbnail " + query["thumb"].encode(), content_type="image/jpeg"
        )
    wanted = _RANGE.match(headers.get("range", ""))
    accepts = ("Accept-Ranges", "bytes")
    if wanted is None:
        return RouteResponse(content, content_type=kind, headers=(accepts,))
    first = int(wanted[1])
    last = min(int(wanted[2] or len(content)), len(content) - 1)
    if first > last:
        nothing = ("Content-Range", f"bytes */{len(content)}")
        return RouteResponse(b"", 416, headers=(nothing,))
    where = ("Content-Range", f"bytes {first}-{last}/{len(content)}")
    return RouteResponse(content[first : last + 1], 206, kind, (accepts, where))


def delete_file(call: RouteCall) -> RouteResponse:
    """``DELETE /api/sessions/{id}/files/{filename}``."""
    _stored(call)
    del call.session().row.files[call.params["filename"]]
    return RouteResponse(status=204)


def fork(call: RouteCall) -> RouteResponse:
    """``POST /api/sessions/{id}/fork``."""
    row = call.session().row
    body = call.json(("messageIndex", "title"), ("messageIndex",))
    index = body["messageIndex"]
    if not isinstance(index, int) or not 0 <= index < max(1, len(row.rows)):
        raise Problem(400, "messageIndex must be that of a message, from 0")
    title = call.text(body, "title") or "Forked Session"
    copy = call.backend.store.fork(row, index, title)
    call.backend.adopt(copy)
    return RouteResponse(copy.as_json(call.backend.traits), 201)


def rewind(call: RouteCall) -> RouteResponse:
    """``POST /api/sessions/{id}/rewind``: the named message is the last one kept."""
    row = call.session().row
    body = call.json(("messageId", "cleanupMedia"))
    message_id = call.text(body, "messageId")
    if not message_id:
        raise Problem(400, "messageId is required")
    ids = [message.id for message in row.rows]
    if message_id not in ids:
        raise Problem(404, f"message not found: {message_id}")
    kept = ids.index(message_id) + 1
    if body.get("cleanupMedia", True):
        since = row.rows[kept - 1].updated
        for name in [name for name, (_, stored) in row.files.items() if stored > since]:
            del row.files[name]
    del row.rows[kept:]
    return RouteResponse(row.as_json(call.backend.traits))


def update_callbacks(call: RouteCall) -> RouteResponse:
    """``PATCH /api/sessions/{id}/callbacks``."""
    row = call.session().row
    row.callbacks = callbacks_of(call.json(("callbacks",), ("callbacks",)))
    return RouteResponse(row.as_json(call.backend.traits))


def _stored(call: RouteCall) -> tuple[bytes, datetime]:
    name = call.params["filename"]
    if "/" in name or name in ("..", "."):
        raise Problem(400, f"invalid file name: {name}")
    try:
        return call.session().row.files[name]
    except KeyError:
        raise Problem(404, f"file not found: {name}") from None


def _info(call: RouteCall, name: str, content: bytes, modified: datetime) -> dict[str, object]:
    shown: dict[str, object] = {
        "name": name,
        "size": len(content),
        "modified": int(modified.timestamp()),
        "isDir": False,
    }
    if call.backend.traits.export:  # the url came with 0.6.9
        shown["url"] = f"/static/{call.params['id']}/{name}"
    return shown


def _multipart(call: RouteCall) -> tuple[str, bytes]:
    """Return the name and content of the part called ``file``."""
    kind = _header(call.exchange.request.headers.get("content-type", ""))
    boundary = kind.get_param("boundary")
    if kind.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        raise Problem(400, "a multipart/form-data body is expected")
    for part in call.exchange.request.body.split(b"--" + boundary.encode("latin-1"))[1:-1]:
        head, found, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        for line in head.decode("utf-8", "replace").split("\r\n") if found else ():
            name, _, value = line.partition(":")
            about = _header(value.strip())
            if (
                name.lower() == "content-disposition"
                and about.get_param("name", header="content-type") == "file"
            ):
                filename = about.get_param("filename", header="content-type")
                if isinstance(filename, str) and filename and "/" not in filename:
                    return filename, content.removesuffix(b"\r\n")
    raise Problem(400, "the part `file` with a filename is required")


def _header(value: str) -> Message:
    message = Message()
    message["content-type"] = value
    return message


ROUTES = (
    Endpoint("GET", "/api/sessions/{id}/files", list_files),
    Endpoint("POST", "/api/sessions/{id}/files/upload", upload_file),
    Endpoint("GET", "/api/sessions/{id}/files/{filename}", get_file),
    Endpoint("DELETE", "/api/sessions/{id}/files/{filename}", delete_file),
    Endpoint("POST", "/api/sessions/{id}/fork", fork, until=(0, 11)),
    Endpoint("POST", "/api/sessions/{id}/rewind", rewind, since=(0, 6, 9)),
    Endpoint("PATCH", "/api/sessions/{id}/callbacks", update_callbacks, since=(0, 11)),
)
"""The table."""
