"""The page of bounds has every bound, with the default of the code and a test that reaches it."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.cases import case
from trio_mix import BackoffStrategy, Mix, _json
from trio_mix._http import (
    DEFAULT_MAX_BODY,
    ERROR_BODY_LIMIT,
    _body,
    _body_pieces,
    _connection,
    _cookies,
    _encoding,
    _idle,
)
from trio_mix._http import _redirects as redirects
from trio_mix._session import _buffers as buffers
from trio_mix._session import _questions as questions
from trio_mix._session import _stream as session_stream
from trio_mix._session import _stream_hooks as stream_hooks
from trio_mix._turns import _owners as owners
from trio_mix._turns import _replay_filter as replay_filter
from trio_mix._turns import _turn as turn
from trio_mix._wire import _large_json, _lenient_endings, _models
from trio_mix.browser import _connection as tunnel_connection
from trio_mix.browser import _devtools, _tunnel
from trio_mix.cli import _streams
from trio_mix.cli.commands import _serve
from trio_mix.cli.ui import _markdown, _permission_prompt, _transcript
from trio_mix.sse import _connect, _decoder
from trio_mix.testing import _log, record
from trio_mix.testing.recording import _exchange_recorder, _recorder, _replay
from trio_mix.testing.server import _state

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "bounds.md"
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "MB": 10**6}


def _default(function: Callable[..., object], name: str) -> object:
    return inspect.signature(function).parameters[name].default


BOUNDS: dict[str, tuple[list[object], str]] = {
    "a response's body in memory": (
        [DEFAULT_MAX_BODY],
        "rest/test_rest_large.py::test_an_endless_body_is_refused_at_its_limit",
    ),
    "a file that is read in pieces": (
        [],
        (
            "rest/test_rest_large.py::"
            "test_a_file_beyond_the_limit_is_read_in_pieces_or_with_a_larger_limit"
        ),
    ),
    "the body of an error response": (
        [ERROR_BODY_LIMIT],
        "http/test_http_request.py::test_a_body_over_the_limit_is_read_only_in_part",
    ),
    "invalid records of a list": (
        [_models._MOST_BAD, _large_json._MOST_UNREADABLE],
        "wire/test_json.py::test_of_millions_of_bad_items_only_some_are_looked_at",
    ),
    "levels of JSON": (
        [_json.MAX_DEPTH],
        "wire/test_json.py::test_values_are_nested_up_to_the_same_depth_on_every_python",
    ),
    "the head of a response": (
        [_connection.MAX_HEAD],
        "http/test_http_stream.py::test_a_head_that_does_not_end_is_refused",
    ),
    "the body of a refusal that": (
        [_connection.SOON, _connection.MAX_AHEAD],
        (
            "http/test_http_refused_bodies.py::"
            "test_a_refusal_whose_body_does_not_end_has_what_has_arrived_of_it"
        ),
    ),
    "the cleanup of an async generator": (
        [_body_pieces.CLEANUP_TIMEOUT],
        "http/test_http_body_ends.py::test_a_cleanup_that_does_not_end_is_bounded",
    ),
    "informational responses": (
        [_connection.MAX_INFORMATIONAL],
        "http/test_http_stream.py::test_informational_responses_without_end_are_refused",
    ),
    "compressed bytes in a row": (
        [_encoding.MAX_WITHOUT_CONTENT],
        "http/test_http_encoding.py::test_content_that_decompresses_to_nothing_is_bounded",
    ),
    "a line of a chunked body": (
        [_body._MAX_LINE],
        "security/test_caps.py::test_endless_heads_and_framing_are_aborted",
    ),
    "redirects that are followed": (
        [redirects.MAX_REDIRECTS],
        "http/test_http_redirects.py::test_a_redirect_loop_ends_after_five_redirects",
    ),
    "cookies": (
        [_cookies.MAX_COOKIES, _cookies.MAX_ORIGINS, _cookies.MAX_LENGTH, _cookies.MAX_TOTAL],
        "http/test_http_cookies.py::test_the_cookies_of_an_origin_and_the_origins_are_bounded",
    ),
    "idle connections of a client": (
        [_idle.MAX_IDLE],
        "http/test_http_connections.py::test_only_a_few_idle_connections_are_kept",
    ),
    "time for one try of an operation": (
        [_default(Mix, "timeout")],
        "rest/test_rest_large.py::test_the_timeout_holds_while_a_large_body_is_decoded",
    ),
    "time for all tries": (
        [BackoffStrategy().max_elapsed_time],
        "rest/test_rest_retry.py::test_pauses_grow_to_the_ceiling_and_end_with_the_time",
    ),
    "one event, or one line": (
        [_decoder.DEFAULT_MAX_EVENT_SIZE],
        "security/test_caps.py::test_an_endless_event_ends_a_session_stream_at_max_event_size",
    ),
    "events that a message buffers before": (
        [_default(Mix.open_stream, "message_buffer")],
        (
            "session/test_buffers.py::"
            "test_at_the_mark_deltas_of_one_message_are_merged_and_the_last_id_kept"
        ),
    ),
    "events that a message buffers while": (
        [buffers.HARD_LIMIT_FACTOR],
        "session/test_buffers.py::test_past_the_hard_limit_it_overflows_and_takes_no_more",
    ),
    "merged text that a message buffers": (
        [buffers.MERGED_CHARACTERS],
        "session/test_buffers.py::test_merged_text_has_a_limit_too",
    ),
    "the reply of a message": (
        [_default(Mix.open_stream, "max_reply_size")],
        (
            "session/test_memory_bounds.py::"
            "test_a_reply_that_is_too_large_fails_and_its_turn_is_cancelled"
        ),
    ),
    "events that all messages and subscriptions": (
        [_default(Mix, "max_buffered_size")],
        (
            "session/test_memory_bounds.py::"
            "test_the_streams_of_a_client_share_the_limit_and_the_largest_buffer_is_reduced"
        ),
    ),
    "permission requests and notifications of a message that are decided and answered": (
        [questions.ANSWERED_AT_ONCE],
        (
            "session/test_many_questions.py::"
            "test_many_questions_are_answered_in_their_order_a_bounded_number_at_a_time"
        ),
    ),
    "permission requests and notifications of a message that wait": (
        [questions.MOST_OPEN, questions.MOST_WAITING_BYTES],
        "session/test_many_questions.py::test_too_many_open_questions_are_warned_about_once",
    ),
    "events that are held": (
        [turn._MOST_HELD, turn._MOST_TEXT_HELD],
        "turns/test_turns_bounded.py::test_what_is_held_for_a_turn_is_bounded",
    ),
    "events that a subscription buffers": (
        [session_stream.DEFAULT_SUBSCRIBER_BUFFER],
        "session/test_buffers.py::test_a_dropped_gap_counts_as_one_and_its_reason_is_kept",
    ),
    "an id of a message, tool call": (
        [_lenient_endings.LONGEST_ID],
        "wire/test_events_decode.py::test_an_id_that_cannot_be_kept_or_answered_makes_the_event_unknown",
    ),
    "an id that is sent as": (
        [_connect._MAX_ID],
        "sse/test_sse_connect.py::test_the_last_event_id_is_sent_as_utf_8_if_a_header_can_carry_it",
    ),
    "events that are remembered": (
        [replay_filter._RECENT],
        "turns/test_replay_filter.py::test_what_is_remembered_is_bounded",
    ),
    "ids of messages and tool calls": (
        [owners._REMEMBERED],
        "turns/test_turns_bounded.py::test_many_turns_do_not_make_the_router_grow",
    ),
    "calls of hooks": (
        [stream_hooks.MAX_QUEUED],
        (
            "hooks/test_hooks_streams.py::"
            "test_behind_a_hook_that_hangs_notes_are_bounded_and_the_end_is_kept"
        ),
    ),
    "events between two turns of other tasks": (
        [buffers.EVENTS_BETWEEN_CHECKPOINTS],
        "session/test_fairness.py::test_other_tasks_run_at_least_every_64_events",
    ),
    "an answer of the browser": (
        [_tunnel.MAX_ANSWER_SIZE],
        (
            "browser/test_browser_commands.py::"
            "test_an_answer_at_the_limit_passes_and_one_byte_more_is_an_error"
        ),
    ),
    "pending commands and their answers": (
        [_tunnel.MAX_QUEUE_SIZE],
        (
            "browser/test_browser_commands.py::"
            "test_pending_commands_and_queued_answers_are_bounded_in_bytes"
        ),
    ),
    "answers that the server does not read": (
        [_tunnel.MAX_QUEUE_SIZE],
        (
            "browser/test_tunnel_clock.py::"
            "test_a_server_that_reads_nothing_loses_the_connection_at_a_bound"
        ),
    ),
    "pending commands |": (
        [tunnel_connection._MAX_PENDING],
        "browser/test_browser_commands.py::test_a_command_beyond_the_maximum_of_pending_ones_is_answered_with_an_error_in_order",
    ),
    "a command of the server": (
        [tunnel_connection._MAX_COMMAND],
        (
            "browser/test_browser_websocket.py::"
            "test_a_message_over_the_limit_ends_the_connection_and_the_error_names_the_code"
        ),
    ),
    "a message of the browser": (
        [_devtools.MAX_MESSAGE],
        "browser/test_pipe.py::test_a_message_over_the_maximum_is_an_error_before_it_is_complete",
    ),
    "the log of a `MixServer`": (
        [_log.MAX_LOG_BYTES],
        "security/test_bundled_servers_bounded.py::test_the_log_is_bounded_in_bytes",
    ),
    "the file of `trio-mix serve --state`": (
        [_state.MAX_STATE],
        (
            "testing/server/test_server_state.py::"
            "test_beyond_the_limit_the_sessions_changed_longest_ago_are_left_out"
        ),
    ),
    "the log of `trio-mix serve`": (
        [_serve._LOG_BYTES, _serve._LOG_LIMIT],
        "testing/server/test_server_life.py::test_the_log_can_be_bounded",
    ),
    "the body of a request to a bundled server": (
        [_recorder.MAX_BODY, _replay.MAX_BODY],
        "security/test_bundled_servers_bounded.py::test_a_body_without_end_is_answered_and_cut_off",
    ),
    "the file of a recording": (
        [_default(record, "max_size")],
        "security/test_bundled_servers_bounded.py::test_a_recording_is_bounded_in_bytes",
    ),
    "text of a line that a recorder holds back": (
        [_exchange_recorder.MAX_HELD],
        "security/test_bundled_servers_bounded.py::test_what_a_recorder_holds_back_is_bounded",
    ),
    "standard input of": (
        [_streams.MAX_INPUT],
        "cli/test_cli_input.py::test_input_that_is_too_long_is_a_mistake",
    ),
    "a block of Markdown": (
        [_markdown._LONGEST, _markdown._MOST_MARKS],
        "cli/test_cli_markdown.py::test_rendering_a_block_takes_a_bounded_number_of_steps",
    ),
    "a line without end": (
        [_transcript._LONGEST_LINE],
        "cli/test_cli_transcript.py::test_a_line_without_end_is_divided_and_an_old_text_forgotten",
    ),
    "a permission request that is put to the user": (
        [_permission_prompt._LONGEST],
        "cli/test_cli_parts.py::test_a_permission_request_that_nobody_can_read_is_denied",
    ),
}
"""The beginning of each row: the values of the code, and the test that reaches the bound."""


def _rows() -> list[str]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [line[2:] for line in lines if line.startswith("| ") and not line.startswith("| what")][
        :
    ]


def _numbers(text: str) -> set[float]:
    found = re.findall(r"(\d[\d,]*)(?: (KiB|MiB|GiB|MB))?", text)
    return {float(number.replace(",", "")) * _UNITS.get(unit, 1) for number, unit in found}


def test_each_bound_has_the_default_of_the_code() -> None:
    rows = [row for row in _rows() if not row.startswith("---")]
    for row in rows:
        named = [name for name in BOUNDS if row.startswith(name)]
        with case(row):
            assert named, "the row is not in BOUNDS"
    for name, (values, _) in BOUNDS.items():
        found = [row for row in rows if row.startswith(name)]
        with case(name):
            assert len(found) == 1
            default = found[0].split(" | ")[1]
            assert {float(str(value)) for value in values} <= _numbers(default) or not values


def test_each_bound_has_a_test_that_reaches_it() -> None:
    for name, (_, test) in BOUNDS.items():
        path, _, function = test.partition("::")
        tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
        names = {node.name for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)}
        assert function in names, name


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
