"""Connections: a network in memory, a listener, HTTP/1.1 on the server's side."""
