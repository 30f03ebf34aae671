"""Records what a client and a server exchange, and replays it."""
