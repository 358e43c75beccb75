"""Several Redis servers that stand in for one another: under Sentinels, or as a cluster. Processes on 127.0.0.1."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError
from redis.retry import Retry

from shop_api import embedded
from shop_api.embedded.child import child
from support.faults import RedisServer
from support.patience import PATIENCE
from support.ports import free_port

SERVICE = "shop"
# Quick to notice, so that a test need not wait, and not so quick that a busy machine looks like a dead server:
# deploy/compose.ha.yml waits twice as long.
_SENTINEL = f"""
sentinel monitor {SERVICE} 127.0.0.1 {{primary}} 2
sentinel down-after-milliseconds {SERVICE} 1500
sentinel failover-timeout {SERVICE} 2000
"""
_QUICK = ("SENTINEL", "DEBUG", "INFO-PERIOD", 200, "PUBLISH-PERIOD", 100, "ASK-PERIOD", 100, "PING-PERIOD", 100)


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    # A Sentinel that was held up for two seconds does nothing for thirty (its "tilt").
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def client(port: int) -> Redis:
    return Redis(port=port, socket_timeout=1, retry=Retry(NoBackoff(), 0))


class Sentinel(RedisServer):
    def __init__(self, folder: Path, primary: int) -> None:
        super().__init__(folder)
        (folder / "sentinel.conf").write_text(_SENTINEL.format(primary=primary))

    def start(self) -> None:
        file = self._folder / "sentinel.conf"
        command = [embedded.redis.binary(), file, "--sentinel", "--bind", "127.0.0.1", "--port", str(self.port)]
        self._process = self._running.enter_context(child(list(map(str, command)), self._folder / "log"))
        until(lambda: self.says("PING").startswith(b"+PONG"))
        with client(self.port) as sentinel:
            sentinel.execute_command(*_QUICK)


class Watched:
    """A primary and a replica, which one is which being up to three Sentinels."""

    def __init__(self, servers: list[RedisServer], sentinels: list[Sentinel]) -> None:
        self.servers, self.sentinels = servers, sentinels
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        self.url = f"redis+sentinel://{hosts}/{SERVICE}/0"

    @property
    def primary(self) -> RedisServer | None:
        """The one that all Sentinels name, and which knows that it is."""
        with suppress(RedisError):
            named = set()
            for sentinel in self.sentinels:
                with client(sentinel.port) as redis:
                    named.add(int(redis.sentinel_get_master_addr_by_name(SERVICE)[1]))
            for server in self.servers:
                if named == {server.port}:
                    with client(server.port) as redis:
                        return server if redis.role()[0] == b"master" else None
        return None

    @property
    def is_whole(self) -> bool:
        """Everybody knows everybody, and the replica has all that the primary has."""
        with suppress(RedisError):
            for port in (sentinel.port for sentinel in self.sentinels):
                with client(port) as sentinel:
                    state = sentinel.sentinel_masters()[SERVICE]
                if (state["num-other-sentinels"], state["num-slaves"], state["flags"]) != (2, 1, "master"):
                    return False
            if primary := self.primary:
                with client(self.replica.port) as redis:
                    role = redis.role()
                return role[0] == b"slave" and role[2:4] == [primary.port, b"connected"]
        return False

    @property
    def replica(self) -> RedisServer:
        """The other one."""
        primary = self.primary
        return next(server for server in self.servers if server is not primary)

    def elect_another_than(self, old: RedisServer) -> RedisServer:
        """The new primary, as soon as there is one."""
        until(lambda: (new := self.primary) and new is not old)
        (new,) = (server for server in self.servers if server is not old)
        return new


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    with ExitStack() as stack:

        def started(server: RedisServer) -> RedisServer:
            stack.callback(server.stop)
            server.start()
            return server

        def place(name: str) -> Path:
            (folder / name).mkdir()
            return folder / name

        primary = started(RedisServer(place("one"), "--repl-diskless-sync-delay", "0"))
        options = ("--replicaof", f"127.0.0.1 {primary.port}", "--repl-diskless-sync-delay", "0")
        servers = [primary, started(RedisServer(place("two"), *options))]
        sentinels = [Sentinel(place(f"sentinel-{n}"), primary.port) for n in range(3)]
        for sentinel in sentinels:
            started(sentinel)
        group = Watched(servers, sentinels)
        until(lambda: group.is_whole)
        yield group


@contextmanager
def cluster(folder: Path, key: str) -> Iterator[list[RedisServer]]:
    """A Redis Cluster of three primaries, the first of which has `key`, and a replica of that one at the end."""
    with ExitStack() as stack:
        nodes = []
        for number in range(4):
            (folder / f"node-{number}").mkdir()
            options = "--cluster-enabled yes --cluster-node-timeout 1500 --cluster-replica-validity-factor 0"
            nodes.append(RedisServer(folder / f"node-{number}", *options.split(), "--cluster-port", str(free_port())))
            stack.callback(nodes[-1].stop)
            nodes[-1].start()
        clients = [stack.enter_context(client(node.port)) for node in nodes]
        slots = [(0, 5460), (5461, 10922), (10923, 16383)]
        slots.sort(key=lambda slot: not slot[0] <= key_slot(key.encode()) <= slot[1])
        for redis, node, slot in zip(clients, nodes, [*slots, None], strict=True):
            if slot:
                redis.execute_command("CLUSTER ADDSLOTSRANGE", *slot)
            port = node._options[node._options.index("--cluster-port") + 1]
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", node.port, port)
        until(lambda: all(redis.cluster("INFO")["cluster_known_nodes"] == "4" for redis in clients))
        clients[-1].cluster("REPLICATE", clients[0].cluster("MYID"))
        until(lambda: all(redis.cluster("INFO")["cluster_state"] == "ok" for redis in clients))
        until(lambda: clients[-1].role()[3] == b"connected")
        yield nodes
