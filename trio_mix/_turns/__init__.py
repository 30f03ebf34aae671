"""Whose event is it: the rules of a session's turns, without I/O, tasks or a clock.

Knows a server's events, what was sent, and which text belongs to which message; must never know
a connection, Trio, or when anything happens but by being told.
"""
