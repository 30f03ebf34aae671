"""A web page that shows a session live: Starlette on hypercorn's Trio worker, events over SSE.

python -m examples.web_relay --demo    with the bundled server, in this process
python -m examples.web_relay           with the server at MIX_SERVER_URL, or port 8088

Then open http://127.0.0.1:8090 in any number of tabs: all show the same conversation. A tab whose
connection is lost reconnects with ``Last-Event-ID``, and receives the events that it missed.
Needs the extra ``examples``: ``pip install -e '.[examples]'`` in a clone.
"""
