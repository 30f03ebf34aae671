"""Let the agent review a change; it may read files, but never run anything.

git diff | python reviewer.py && git push
"""

import sys

import trio

from trio_mix import Message, Mix
from trio_mix.events import PermissionEvent

TIMEOUT = 120


async def may_read(request: PermissionEvent, message: Message) -> bool:
    return request.action == "read"


async def review(mix: Mix, change: str) -> str:
    """Return the agent's verdict on a change."""
    async with mix.open_session(title="Review", on_permission=may_read) as session:
        with trio.fail_after(TIMEOUT):
            reply = await session.ask(f"Review this. Say OK, or what is wrong:\n\n{change}")
    return reply.text


async def main() -> None:
    async with Mix() as mix:
        verdict = await review(mix, sys.stdin.read())
    print(verdict)
    sys.exit(not verdict.startswith("OK"))


if __name__ == "__main__":
    trio.run(main)
