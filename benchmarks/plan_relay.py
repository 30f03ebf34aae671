"""The relay's benches: what stands between one upstream stream and its consumers."""

from __future__ import annotations

from typing import Any

from benchmarks.plan import Bench, Growth, Target
from benchmarks.relay import DIRECT
from benchmarks.relay_redis import FOLLOWER, OWNER, REDIS, SQLITE
from benchmarks.relay_server import NCHAN, RELAY, RELAYS, STARLETTE


def _relay(name: str, title: str, what: str, peers: tuple[str, ...], **fields: Any) -> Bench:
    arguments = {"what": what, **fields.pop("arguments")}
    return Bench(
        name=f"relay, {name}",
        title=title,
        module="relay",
        peers=peers,
        against=fields.pop("against", peers[-1]),
        arguments=arguments,
        in_short=False,
        **fields,
    )


RELAY_BENCHES = (
    _relay(
        "1,000 consumers",
        "The relay: 200 events a second to 1,000 consumers of one session",
        "fan",
        (RELAY, NCHAN, STARLETTE),
        arguments={"consumers": 1000, "rate": 200, "seconds": 5},
        targets=(
            Target(RELAY, "p99 ms", 0.2),
            Target(RELAY, "µs/delivery", 0.6),
            Target(RELAY, "KB each", 0.4),
            Target(RELAY, "p99 ms", 2.0, NCHAN),
            Target(RELAY, "µs/delivery", 4.0, NCHAN),
        ),
    ),
    _relay(
        "100 consumers, 2,000/s",
        "The relay: 2,000 events a second to 100 consumers of one session",
        "fan",
        (RELAY, NCHAN, STARLETTE),
        arguments={"consumers": 100, "rate": 2000, "seconds": 3, "burst": 4},
    ),
    _relay(
        "1 consumer, durable",
        "The relay: 2,000 events a second in bursts of four to one consumer",
        "fan",
        (RELAY, DIRECT),
        arguments={"consumers": 1, "rate": 2000, "seconds": 3, "burst": 4},
        targets=(Target(RELAY, "µs/event", 2.0),),
        limits=(Target(RELAY, "p50 ms", 5.0), Target(RELAY, "p99 ms", 30.0)),
    ),
    _relay(
        "replay",
        "The relay: read 10,000 missed events from the log after a restart",
        "replay",
        (RELAY,),
        arguments={"count": 10_000},
        limits=(Target(RELAY, "s", 0.2),),
    ),
    _relay(
        "a stalled consumer",
        "The relay: one consumer of 1,000 takes no byte",
        "stalled",
        (RELAY,),
        arguments={"consumers": 1000, "rate": 200, "seconds": 5},
        limits=(Target(RELAY, "MB more", 1.0), Target(RELAY, "p99, times", 1.2)),
    ),
)


def _redis(name: str, title: str, what: str, peers: tuple[str, ...], **fields: Any) -> Bench:
    return Bench(
        name=f"relay on Redis, {name}",
        title=title,
        module="relay_redis",
        peers=peers,
        against=peers[-1],
        arguments={"what": what, **fields.pop("arguments")},
        server=fields.pop("server", False),
        in_short=False,
        **fields,
    )


REDIS_BENCHES = (
    *(
        _redis(
            f"append {batch}",
            f"The log: append events in batches of {batch}",
            "append",
            (REDIS, SQLITE),
            arguments={"count": count, "batch": batch},
            limits=(Target(REDIS, "µs/event", 16.0),) if batch == 50 else (),
        )
        for batch, count in ((1, 2_000), (10, 10_000), (50, 20_000), (200, 40_000))
    ),
    _redis(
        "owner and follower",
        "Redis: 2,000 events a second in batches of 40, at their owner and at a follower",
        "follow",
        (FOLLOWER, OWNER),
        arguments={"count": 6000, "rate": 2000, "batch": 40},
    ),
    *(
        _redis(
            f"{relays} relays",
            f"The relay on Redis: 200 events a second to 900 consumers at {relays} relays",
            "fan",
            (RELAYS, RELAY) if relays == 1 else (RELAYS,),
            arguments={"relays": relays, "consumers": 900, "rate": 200, "seconds": 5},
            server=True,
        )
        for relays in (1, 3)
    ),
    *(
        _redis(
            f"takeover {ttl} s",
            f"Redis: a relay with a lease of {ttl} seconds is killed; another one owns its session",
            "takeover",
            (REDIS,),
            arguments={"ttl": ttl},
            limits=(Target(REDIS, "s over the TTL", 0.5),),
        )
        for ttl in (1, 2, 5)
    ),
)

RELAY_GROWTHS = (
    Growth(
        name="relay-consumers",
        title="The relay: CPU per event and consumer, by the consumers of one session",
        module="relay",
        peers=(RELAY, NCHAN, STARLETTE),
        argument="consumers",
        values=(1, 10, 100, 1000, 5000),
        figure="µs/delivery",
        arguments={"what": "fan", "rate": 100, "seconds": 3},
    ),
    Growth(
        name="relay-sessions",
        title="The relay: CPU per event, by the sessions that have a consumer each",
        module="relay",
        peers=(RELAY, STARLETTE),
        argument="sessions",
        values=(1, 10, 100, 1000),
        figure="µs/event",
        arguments={"what": "fan", "consumers": 1, "rate": 1000, "seconds": 3},
    ),
)
