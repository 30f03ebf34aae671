"""The table's entries for sessions.

What it knows: what `Operation` asks for. What it must never know: how a request is made.
"""

from __future__ import annotations

from typing import Final, get_args

from trio_mix._rest._operation import (
    LATEST,
    SINCE_069,
    UNTIL_069,
    Operation,
    body_param,
    path_param,
    query_param,
)
from trio_mix.models import BrowserMode, ExportSession, PromptMode, SessionData, SessionType

LIST_SESSIONS: Final = Operation(
    name="sessions.list",
    operation_id="listSessions",
    method="GET",
    path="/api/sessions",
    params=(query_param("include_subagents", "bool", generations=LATEST),),
    result=list[SessionData],
    answers={200: "[SessionData]"},
    errors=(401, 500),
    retry="safe",
)
CREATE_SESSION: Final = Operation(
    name="sessions.create",
    operation_id="createSession",
    method="POST",
    path="/api/sessions",
    params=(
        body_param("title", required=True),
        body_param("browser_mode", choices=get_args(BrowserMode), generations=LATEST),
        body_param("callbacks", "callbacks", generations=LATEST),
        body_param("cdp_url", secret=True, generations=LATEST),
        body_param("custom_system_prompt"),
        body_param("model_id", generations=LATEST),
        body_param("prompt_mode", choices=get_args(PromptMode)),
        body_param("provider", generations=LATEST),
        body_param("session_type", choices=get_args(SessionType), generations=LATEST),
        body_param("subagent_type", generations=LATEST),
    ),
    result=SessionData,
    answers={201: "SessionData"},
    errors=(400,),
    retry="unsent",
)
DELETE_SESSION: Final = Operation(
    name="sessions.delete",
    operation_id="deleteSession",
    method="DELETE",
    path="/api/sessions/{id}",
    params=(path_param("id"),),
    result=type(None),
    answers={204: ""},
    errors=(404,),
    retry="safe",
)
GET_SESSION: Final = Operation(
    name="sessions.get",
    operation_id="getSession",
    method="GET",
    path="/api/sessions/{id}",
    params=(path_param("id"),),
    result=SessionData,
    answers={200: "SessionData"},
    errors=(404,),
    retry="safe",
)
UPDATE_SESSION_CALLBACKS: Final = Operation(
    name="sessions.update_session_callbacks",
    operation_id="updateSessionCallbacks",
    method="PATCH",
    path="/api/sessions/{id}/callbacks",
    params=(path_param("id"), body_param("callbacks", "callbacks", required=True)),
    result=SessionData,
    answers={200: "SessionData"},
    errors=(400, 404),
    generations=LATEST,
    retry="safe",
)
EXPORT_SESSION: Final = Operation(
    name="sessions.export_session",
    operation_id="exportSession",
    method="GET",
    path="/api/sessions/{id}/export",
    params=(path_param("id"),),
    result=ExportSession,
    answers={200: "ExportSession"},
    errors=(404, 500),
    generations=SINCE_069,
    retry="safe",
)
FORK_SESSION: Final = Operation(
    name="sessions.fork",
    operation_id="forkSession",
    method="POST",
    path="/api/sessions/{id}/fork",
    params=(
        path_param("id"),
        body_param("message_index", "int", required=True, minimum=0),
        body_param("title"),
    ),
    result=SessionData,
    answers={201: "SessionData"},
    errors=(400, 404),
    generations=UNTIL_069,
    retry="unsent",
)
REWIND_SESSION: Final = Operation(
    name="sessions.rewind_session",
    operation_id="rewindSession",
    method="POST",
    path="/api/sessions/{id}/rewind",
    params=(
        path_param("id"),
        body_param("message_id", required=True),
        body_param("cleanup_media", "bool"),
    ),
    result=SessionData,
    answers={200: "SessionData"},
    errors=(400, 404),
    generations=SINCE_069,
    retry="safe",
)
