"""The rules of a session's turns, without I/O, tasks or a clock."""
