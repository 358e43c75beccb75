"""Connections to the primary that Redis Sentinels report, looked up for each new connection.

redis-py's own Sentinel client queries one Sentinel after another, so each connection waits for the time-out of an
unreachable one, and trusts the first reply, whose Sentinel may have missed a failover.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import NoBackoff


class Sentinels:
    """Several Sentinels of one service; `options` apply to the connection to each."""

    def __init__(self, hosts: Sequence[tuple[str, int]], options: Mapping[str, Any]) -> None:
        self._hosts = hosts
        self._options = options

    async def discover_master(self, service: str) -> tuple[str, int]:
        """Return the primary's address from the Sentinel with the newest configuration epoch.

        Raises MasterNotFoundError if no Sentinel responds or the primary is down."""
        answers = await asyncio.gather(*(self._ask(*host, service) for host in self._hosts), return_exceptions=True)
        states = [state for state in answers if isinstance(state, dict)]
        if not states:
            raise MasterNotFoundError(f"no Sentinel that answers knows {service}")
        newest = max(states, key=lambda state: int(state["config-epoch"]))
        if not newest["is_master"] or newest["is_sdown"] or newest["is_odown"]:
            raise MasterNotFoundError(f"the Sentinels say that the primary of {service} is down")
        return newest["ip"], newest["port"]

    async def _ask(self, host: str, port: int, service: str) -> Any:
        # Without HELLO and CLIENT SETINFO, to save round trips within the short time-out.
        about: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "protocol": 2, "driver_info": None, **self._options}
        async with Redis(host=host, port=port, **about) as sentinel:
            states: Any = await sentinel.sentinel_masters()
            return states.get(service)


class ToPrimary(SentinelManagedConnection):
    async def connect_to(self, address: tuple[str, int]) -> None:
        await super().connect_to(address)  # type: ignore[no-untyped-call]
        # A former primary may be back and not yet know that it was demoted.
        await self.send_command("ROLE")
        role = (await self.read_response())[0]
        if role not in (b"master", "master"):
            await self.disconnect()
            raise exceptions.ConnectionError(f"{address[0]}:{address[1]} is not the primary")


class ToPrimaryWithTls(ToPrimary, SSLConnection):
    pass


class PrimaryPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary of `service`. Connections to a former primary are closed after a failover."""

    def __init__(self, service: str, sentinels: Sentinels, *, ssl: bool, **options: Any) -> None:
        options["connection_class"] = ToPrimaryWithTls if ssl else ToPrimary
        super().__init__(service, sentinels, **options)  # type: ignore[no-untyped-call]
