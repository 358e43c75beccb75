"""The record in which a feature declares what it adds to the service."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from fastapi import APIRouter
from pydantic import BaseModel

from shop_api.cache.follower import TagsOf
from shop_api.kernel.permissions import Permission
from shop_api.storage.mongo.client import Database
from shop_api.storage.mongo.collections import CollectionSpec
from shop_api.storage.mongo.schema import DeclaredSchema, Migration


class Tag(NamedTuple):
    """A section of the OpenAPI document."""

    name: str
    description: str


class Invariant(NamedTuple):
    """A condition that the stored data meets at any moment. `shop-api check` asserts it."""

    name: str
    description: str
    violations: Callable[[Database], AsyncIterator[str]]
    """Yields one sentence for each violation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A feature. `features/__init__.py` lists all of them, and everything the service does for every feature is
    derived from that list."""

    name: str
    routers: Sequence[APIRouter] = ()
    routed_first: bool = False
    """Whether its routes are matched before those of other features, because they receive the most requests."""
    tags: Sequence[Tag] = ()
    """The first tag is the main section. The others follow the main sections of all features."""
    models: Sequence[type[BaseModel]] = ()
    """Models for the OpenAPI document that no route declares as its body or response."""
    collections: Sequence[CollectionSpec] = ()
    cache_tags: Mapping[str, TagsOf] = field(default_factory=dict)
    """By collection, the cache tags to invalidate when a document changes, on this instance or elsewhere."""
    permissions: Sequence[Permission] = ()
    audit_actions: Sequence[str] = ()
    """The actions that it writes to the audit log."""
    audit_subjects: Sequence[str] = ()
    """The resource types that these actions change."""
    invariants: Sequence[Invariant] = ()
    migrations: Sequence[Migration] = ()
    """Migrations of its collections, numbered 1, 2, 3, … A released migration is never changed or removed."""


def collections_of(features: Iterable[Feature]) -> list[CollectionSpec]:
    """Return all collections. Raises ValueError if two features declare the same one."""
    specs = list(chain.from_iterable(feature.collections for feature in features))
    names = [spec.name for spec in specs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"more than one feature declares the collection {', '.join(twice)}")
    return specs


def schema_of(features: Iterable[Feature]) -> DeclaredSchema:
    """Return the collections and migrations that the features declare."""
    features = list(features)
    migrations = {feature.name: feature.migrations for feature in features if feature.migrations}
    return DeclaredSchema(collections_of(features), migrations)


def permissions_of(features: Iterable[Feature]) -> list[Permission]:
    return list(chain.from_iterable(feature.permissions for feature in features))


def audit_actions_of(features: Iterable[Feature]) -> list[str]:
    return list(chain.from_iterable(feature.audit_actions for feature in features))


def audit_subjects_of(features: Iterable[Feature]) -> list[str]:
    return list(chain.from_iterable(feature.audit_subjects for feature in features))


def invariants_of(features: Iterable[Feature]) -> list[Invariant]:
    return list(chain.from_iterable(feature.invariants for feature in features))


def routers_of(features: Iterable[Feature]) -> list[APIRouter]:
    """Return all routers in matching order."""
    in_order = sorted(features, key=lambda feature: not feature.routed_first)
    return list(chain.from_iterable(feature.routers for feature in in_order))


def models_of(features: Iterable[Feature]) -> list[type[BaseModel]]:
    return list(chain.from_iterable(feature.models for feature in features))


def cache_tags_of(features: Iterable[Feature]) -> dict[str, TagsOf]:
    return {name: tags for feature in features for name, tags in feature.cache_tags.items()}


def tags_of(features: Iterable[Feature]) -> list[Tag]:
    """Return the main section of each feature, then their other sections."""
    features = list(features)
    main = [feature.tags[0] for feature in features if feature.tags]
    return main + [tag for feature in features for tag in feature.tags[1:]]
