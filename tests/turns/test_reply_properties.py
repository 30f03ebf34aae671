"""What holds of a reply whatever events, answers and gaps it is made of."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.event_makers import (
    asked,
    begins,
    deltas,
    done,
    error,
    fed,
    old_piece,
    piece,
    ran,
    rate_limit,
    runs,
    says,
    thinks,
    tool,
    unknown,
    whole,
)
from trio_mix import events as ev
from trio_mix._reply import ToolCall
from trio_mix._turns._reply_builder import ReplyBuilder
from trio_mix._turns._stored_rows import StoredReply

# -- whatever comes --------------------------------------------------------------------------

names = st.sampled_from(["m", "n", ""])
maybe = st.none() | names
texts = st.text("ab \n", max_size=4)
any_event = st.one_of(
    st.builds(says, texts, maybe, maybe),
    st.builds(says, texts),
    st.builds(thinks, texts, maybe, maybe),
    st.builds(done, maybe, st.none() | texts, maybe, is_done=st.booleans(), reasoning=maybe),
    st.builds(tool, names, texts, names),
    st.builds(begins, names, maybe, maybe),
    st.builds(piece, names, texts, maybe, maybe),
    st.builds(old_piece, names, texts),
    st.builds(whole, names, texts, maybe, maybe),
    st.builds(runs, names, maybe),
    st.builds(ran, names, maybe),
    st.builds(asked, names, texts, maybe),
    st.sampled_from([unknown(), error(), rate_limit(), ev.HeartbeatEvent()]),
)
any_stored = st.builds(
    StoredReply,
    texts=st.lists(texts, max_size=3).map(tuple),
    message_id=maybe,
    recovered=st.booleans(),
    tool_calls=st.lists(st.builds(ToolCall, tool_call_id=names), max_size=2).map(tuple),
)


@given(acts=st.lists(any_event | any_stored | st.just("gap"), max_size=25))
@example(acts=[StoredReply(texts=("b",)), done(None, "a")])
def test_joined_deltas_are_the_text_whatever_comes(
    acts: list[ev.Event | StoredReply | str],
) -> None:
    builder = ReplyBuilder()
    events: list[ev.Event] = []
    firm: str | None = None  # the text received before a connection was lost
    answer: StoredReply | None = None  # the last one in an HTTP response
    for act in acts:
        if isinstance(act, str):
            builder.gap()
            firm = deltas(events) if firm is None else firm
        elif isinstance(act, StoredReply):
            builder.take_stored(act)
            answer = answer if act.recovered else act
        else:
            events.append(act)
            builder.feed([act])
        doubts = builder.build().doubts
        answered = answer is not None and answer.texts
        if "answer" in doubts or ("contradicted" in doubts and answered):
            assert isinstance(act, StoredReply | ev.CompleteEvent), "an answer differs from an end"
            assert answer is not None
            assert builder.build().text == "".join(answer.texts)
            return  # the events were another client's
        if firm is None:
            assert deltas(events) + builder.rest == builder.build().text
        else:
            assert builder.build().text.startswith(firm)
    reply = builder.build()
    ids = [call.tool_call_id for call in reply.tool_calls]
    assert len(ids) == len(set(ids))
    assert {getattr(event, "tool_call_id", None) for event in events} - {None} <= set(ids)
    ends = [e for e in events if isinstance(e, ev.CompleteEvent) and e.parent_tool_call_id is None]
    if ends and ends[-1].content and not any(isinstance(act, StoredReply) for act in acts):
        assert reply.final_text == ends[-1].content


@given(
    rounds=st.lists(st.lists(st.text("xyz", min_size=1), min_size=1, max_size=3), min_size=1),
    held=st.integers(0, 3),
    ids=st.booleans(),
)
def test_what_complete_overtook_is_added_exactly_once(
    rounds: list[list[str]], held: int, ids: bool
) -> None:
    events: list[ev.Event] = []
    for number, pieces in enumerate(rounds):
        message = f"m{number}" if ids else None
        last = number == len(rounds) - 1
        received = pieces[: max(len(pieces) - held, 1)] if last else pieces
        events += [says(text, message) for text in received]
        events += [] if last else [begins(f"c{number}", message), ran(f"c{number}")]
    final = "".join(rounds[-1])
    events.append(done(f"m{len(rounds) - 1}", final))
    truth = "".join("".join(pieces) for pieces in rounds)
    reply = fed(*events).build()
    assert reply.final_text == final
    streamed = deltas(events)
    ambiguous = not ids and (streamed.endswith(final) or final.startswith(streamed))
    assert reply.text == truth or (ambiguous and len(rounds) > 1)
