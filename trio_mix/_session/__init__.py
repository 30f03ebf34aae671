"""Behind an open session: the tasks that send, read, watch, recover; the lines where events wait.

Knows the turns' rules, the REST calls it asks for, and Trio; must never know how a request
is written or what the person at the other end sees.
"""
