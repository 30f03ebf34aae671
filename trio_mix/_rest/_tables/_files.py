"""The table's entries for a session's files.

What it knows: what `Operation` asks for. What it must never know: how a request is made.
"""

from __future__ import annotations

from typing import Final

from trio_mix._rest._operation import (
    Operation,
    Param,
    path_param,
    query_param,
)
from trio_mix.models import FileInfo

LIST_FILES: Final = Operation(
    name="files.list",
    operation_id="listSessionFiles",
    method="GET",
    path="/api/sessions/{id}/files",
    params=(path_param("id"),),
    result=list[FileInfo],
    answers={200: "[FileInfo]"},
    errors=(404,),
    retry="safe",
)
UPLOAD_FILE: Final = Operation(
    name="files.upload",
    operation_id="uploadSessionFile",
    method="POST",
    path="/api/sessions/{id}/files/upload",
    params=(
        path_param("id"),
        Param(name="file", wire="file", where="form", kind="file", required=True),
    ),
    result=FileInfo,
    answers={201: "FileInfo"},
    errors=(400, 404, 413),
    retry="unsent",
    long=True,
)
GET_FILE: Final = Operation(
    name="files.get",
    operation_id="getSessionFile",
    method="GET",
    path="/api/sessions/{id}/files/{filename}",
    params=(
        path_param("id"),
        path_param("filename"),
        query_param("thumb", pattern=r"\d+|w\d+|h\d+"),
        query_param("time", "number", minimum=0, maximum=86400),
    ),
    result=bytes,
    answers={200: "the file"},
    errors=(400, 404),
    retry="safe",
)
DELETE_FILE: Final = Operation(
    name="files.delete",
    operation_id="deleteSessionFile",
    method="DELETE",
    path="/api/sessions/{id}/files/{filename}",
    params=(path_param("id"), path_param("filename")),
    result=type(None),
    answers={204: ""},
    errors=(400, 404),
    retry="safe",
)
