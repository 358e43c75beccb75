"""How a route takes part: by its decorator `@cacheable("product:{product_id}")`."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, compile_path

F = TypeVar("F", bound=Callable[..., Any])


def cacheable(*tags: str) -> Callable[[F], F]:
    """Marks the handler of a GET route whose answer to somebody without a token may be kept and given to everyone,
    until one of `tags` is invalidated. Names in braces stand for parameters of the path.

    The tags are known before the answer is made, so that a change in the meantime is not missed. They are sent as
    Surrogate-Key, by which CDNs purge.
    """

    def mark(handler: F) -> F:
        handler.cache_tags = tags  # type: ignore[attr-defined]
        return handler

    return mark


class CacheableRoute(NamedTuple):
    path: str
    """With its parameters in braces, as in the routes of the framework."""
    pattern: re.Pattern[str]
    tags: tuple[str, ...]

    def tags_of(self, path: str) -> tuple[str, ...] | None:
        """The tags of the answer at `path`; None if this is not its route."""
        found = self.pattern.match(path)
        return tuple(tag.format_map(found.groupdict()) for tag in self.tags) if found else None


def cacheable_routes(routes: Sequence[BaseRoute]) -> Iterator[CacheableRoute]:
    """Those that are marked, in the order in which they are tried."""
    for route in iter_route_contexts(routes):
        tags = getattr(route.endpoint, "cache_tags", None)
        if tags and route.path:
            yield CacheableRoute(route.path, compile_path(route.path)[0], tags)
