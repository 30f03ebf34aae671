"""One operation of the Mix API, from its arguments to its answer.

Knows the table of operations, bodies, retries, files and hooks; must never know a session's turns.
"""
