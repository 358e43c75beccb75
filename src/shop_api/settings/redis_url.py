"""Where Redis is, as `SHOP_REDIS_URL` says it: one server, the primary that Sentinels name, or a cluster."""

import re
from typing import Literal, NamedTuple

SCHEMES = (
    *("redis://", "rediss://", "unix://"),
    *("redis+sentinel://", "rediss+sentinel://", "redis+cluster://", "rediss+cluster://"),
)

_PORTS = {"sentinel": 26379, "cluster": 6379}
_FORMS = {
    "sentinel": "redis+sentinel://user:password@host:port,host:port/service-name/0",
    "cluster": "redis+cluster://user:password@host:port,host:port",
}
_HOST = re.compile(r"(?P<host>[\w.-]+|\[[\da-fA-F:.]+\])(:(?P<port>\d{1,5}))?", re.ASCII)


class Address(NamedTuple):
    kind: Literal["server", "sentinel", "cluster"]
    url: str
    """How to speak to a server, in the driver's own form: user, password, TLS, database, options. Where `kind` is
    `server`, all of it; else which server it is has to be found out."""
    hosts: tuple[tuple[str, int], ...] = ()
    """The Sentinels, or some of the cluster."""
    service: str = ""
    """What the Sentinels call the servers."""


def parse(url: str) -> Address:
    """ValueError if it cannot be such an address; the message does not repeat it, since it may hold a password."""
    scheme, _, rest = url.partition("://")
    plain, _, kind = scheme.partition("+")
    if kind not in _FORMS:
        return Address("server", url)
    rest, question_mark, options = rest.partition("?")
    place, _, path = rest.partition("/")
    user, at, hosts = place.rpartition("@")
    service, _, database = path.partition("/") if kind == "sentinel" else ("", "", path)
    found = [_HOST.fullmatch(host) for host in hosts.split(",")]
    good = service if kind == "sentinel" else database in ("", "0")  # a cluster has no other database
    if not good or not all(found) or not re.fullmatch(r"\d*", database):
        raise ValueError(f"is not of the form {_FORMS[kind]}")
    named = tuple((match["host"].strip("[]"), int(match["port"] or _PORTS[kind])) for match in found if match)
    one = f"{plain}://{user}{at}{hosts.partition(',')[0]}/{database}{question_mark}{options}"
    return Address("sentinel" if kind == "sentinel" else "cluster", one, named, service)
