"""Parses `SHOP_REDIS_URL`: one server, a primary found through Sentinels, or a cluster."""

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
    """A URL in the driver's form with user, password, TLS, database and options. Its host is the server to use only
    if `kind` is `server`; otherwise the host is discovered."""
    hosts: tuple[tuple[str, int], ...] = ()
    """The Sentinels, or some nodes of the cluster."""
    service: str = ""
    """The service name that the Sentinels monitor."""


def parse(url: str) -> Address:
    """Parse a Redis URL. Raise ValueError if malformed; the message omits the URL, which may hold a password."""
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
