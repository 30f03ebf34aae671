"""The routes of a session's files, which are kept in memory."""

from __future__ import annotations

import mimetypes
import re
from email.message import Message
from typing import TYPE_CHECKING

from trio_mix.testing.server._routes import ApiRoute, Problem, RouteCall, RouteResponse

if TYPE_CHECKING:
    from datetime import datetime

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
    """``GET /api/sessions/{id}/files/{filename}``: whole, a byte range, or a made-up thumbnail."""
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
    ApiRoute("GET", "/api/sessions/{id}/files", list_files),
    ApiRoute("POST", "/api/sessions/{id}/files/upload", upload_file),
    ApiRoute("GET", "/api/sessions/{id}/files/{filename}", get_file),
    ApiRoute("DELETE", "/api/sessions/{id}/files/{filename}", delete_file),
)
"""The routes of this module."""
