"""A web page that shows a session live: Starlette on hypercorn's Trio worker, events over SSE.

python -m examples.web_relay --demo    with the bundled server, in this process
python -m examples.web_relay           with the server at MIX_SERVER_URL, or port 8088

Then open http://127.0.0.1:8090 in as many tabs as you like: all show the same conversation. A tab
whose connection is lost comes back with ``Last-Event-ID``, and gets what it has missed.
Needs ``pip install trio-mix[examples]``.
"""
