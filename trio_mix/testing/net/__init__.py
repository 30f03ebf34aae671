"""Connections: a network in memory, HTTP/1.1 on the server's side, a listener."""
