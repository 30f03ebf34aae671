"""The table's entries for messages sent and stored over REST.

What it knows: what `Operation` asks for. What it must never know: how a request is made.
"""

from __future__ import annotations

from typing import Final, get_args

from trio_mix._rest._operation import (
    LATEST,
    Operation,
    body_param,
    path_param,
    query_param,
)
from trio_mix.models import BackendMessage, CancelResult, SendResult, ThinkingLevel

GET_HISTORY: Final = Operation(
    name="messages.get_history",
    operation_id="getMessageHistory",
    method="GET",
    path="/api/messages/history",
    params=(
        query_param("limit", "int", minimum=1, maximum=1000),
        query_param("offset", "int", minimum=0),
    ),
    result=list[BackendMessage],
    answers={200: "[BackendMessage]"},
    errors=(401, 500),
    retry="safe",
)
CANCEL_PROCESSING: Final = Operation(
    name="messages.cancel_processing",
    operation_id="cancelSessionProcessing",
    method="POST",
    path="/api/sessions/{id}/cancel",
    params=(path_param("id"),),
    result=CancelResult,
    answers={200: "{cancelled} or {status, sessionId}"},
    errors=(404,),
    retry="safe",
)
GET_SESSION_MESSAGES: Final = Operation(
    name="messages.get_session",
    operation_id="getSessionMessages",
    method="GET",
    path="/api/sessions/{id}/messages",
    params=(path_param("id"),),
    result=list[BackendMessage],
    answers={200: "[BackendMessage]"},
    errors=(404,),
    retry="safe",
)
SEND_MESSAGE: Final = Operation(
    name="messages.send",
    operation_id="sendMessage",
    method="POST",
    path="/api/sessions/{id}/messages",
    params=(
        path_param("id"),
        body_param("text", required=True),
        body_param("plan_mode", "bool", wire="plan_mode"),
        body_param(
            "thinking_level",
            wire="thinking_level",
            choices=get_args(ThinkingLevel),
            generations=LATEST,
        ),
        body_param("max_steps", "int", wire="max_steps", minimum=1, generations=LATEST),
        body_param("media", "texts", generations=("0.6.4",)),
        body_param("apps", "texts", generations=("0.6.4",)),
    ),
    result=SendResult,
    answers={200: "BackendMessage", 202: "{status, sessionId}"},
    errors=(400, 404),
    retry="unsent",
    long=True,
)
