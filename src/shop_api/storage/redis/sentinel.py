"""The primary that Sentinels name, asked for at every new connection.

redis-py's own Sentinel asks one after the other, so that one which is down with its machine costs every connection
its time-out, and believes the first, which may have missed an election.
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
    """Some of those that watch over one service; `options` are of a connection to any of them."""

    def __init__(self, hosts: Sequence[tuple[str, int]], options: Mapping[str, Any]) -> None:
        self._hosts = hosts
        self._options = options

    async def discover_master(self, service: str) -> tuple[str, int]:
        """The primary's address, from whoever knows of the newest election; MasterNotFoundError if there is none that
        works."""
        answers = await asyncio.gather(*(self._ask(*host, service) for host in self._hosts), return_exceptions=True)
        states = [state for state in answers if isinstance(state, dict)]
        if not states:
            raise MasterNotFoundError(f"no Sentinel that answers knows {service}")
        newest = max(states, key=lambda state: int(state["config-epoch"]))
        if not newest["is_master"] or newest["is_sdown"] or newest["is_odown"]:
            raise MasterNotFoundError(f"the Sentinels say that the primary of {service} is down")
        return newest["ip"], newest["port"]

    async def _ask(self, host: str, port: int, service: str) -> Any:
        # Few words, since it may be in a hurry: without HELLO and the driver's name.
        about: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "protocol": 2, "driver_info": None, **self._options}
        async with Redis(host=host, port=port, **about) as sentinel:
            states: Any = await sentinel.sentinel_masters()
            return states.get(service)


class ToPrimary(SentinelManagedConnection):
    async def connect_to(self, address: tuple[str, int]) -> None:
        await super().connect_to(address)  # type: ignore[no-untyped-call]
        # Whoever was the primary may be back, and not know yet that it no longer is.
        await self.send_command("ROLE")
        role = (await self.read_response())[0]
        if role not in (b"master", "master"):
            await self.disconnect()
            raise exceptions.ConnectionError(f"{address[0]}:{address[1]} is not the primary")


class ToPrimaryWithTls(ToPrimary, SSLConnection):
    pass


class PrimaryPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary of `service`. Those to an earlier one are closed when another is found."""

    def __init__(self, service: str, sentinels: Sentinels, *, ssl: bool, **options: Any) -> None:
        options["connection_class"] = ToPrimaryWithTls if ssl else ToPrimary
        super().__init__(service, sentinels, **options)  # type: ignore[no-untyped-call]
