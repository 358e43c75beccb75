"""The decorator that makes a route cacheable, as in `@cacheable("product:{product_id}")`."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, compile_path

F = TypeVar("F", bound=Callable[..., Any])


def cacheable(*tags: str) -> Callable[[F], F]:
    """Mark the handler of a GET route as cacheable: its response to a request without a token is stored and served to
    everyone until one of `tags` is invalidated. Names in braces are path parameters.

    The tags are known before the response is made, so a change in the meantime can fence it. They are sent as
    Surrogate-Key, by which CDNs purge.
    """

    def mark(handler: F) -> F:
        handler.cache_tags = tags  # type: ignore[attr-defined]
        return handler

    return mark


class CacheableRoute(NamedTuple):
    path: str
    """The path template, with parameters in braces."""
    pattern: re.Pattern[str]
    tags: tuple[str, ...]

    def tags_of(self, path: str) -> tuple[str, ...] | None:
        """Return the tags of the response at `path`, or None if this route does not match it."""
        found = self.pattern.match(path)
        return tuple(tag.format_map(found.groupdict()) for tag in self.tags) if found else None


def cacheable_routes(routes: Sequence[BaseRoute]) -> Iterator[CacheableRoute]:
    """Yield the cacheable routes in matching order."""
    for route in iter_route_contexts(routes):
        tags = getattr(route.endpoint, "cache_tags", None)
        if tags and route.path:
            yield CacheableRoute(route.path, compile_path(route.path)[0], tags)
