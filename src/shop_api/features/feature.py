"""What a feature adds to the service, as data."""

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
    """Something that holds of the stored data at any moment; `shop-api check` asserts it."""

    name: str
    description: str
    violations: Callable[[Database], AsyncIterator[str]]
    """Yields a sentence for each place where it does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One feature. `features/__init__.py` lists them all, and whatever the service does for every feature is derived
    from that list."""

    name: str
    routers: Sequence[APIRouter] = ()
    routed_first: bool = False
    """Whether its routes are tried before those of other features: what is asked for most."""
    tags: Sequence[Tag] = ()
    """The first one is its main section; others come behind the main sections of all features."""
    models: Sequence[type[BaseModel]] = ()
    """Those of the OpenAPI document that no route names as its own body or response."""
    collections: Sequence[CollectionSpec] = ()
    cache_tags: Mapping[str, TagsOf] = field(default_factory=dict)
    """By collection: what the HTTP cache has to invalidate when a document changes, whoever changed it."""
    permissions: Sequence[Permission] = ()
    audit_actions: Sequence[str] = ()
    """What it writes to the audit log."""
    audit_subjects: Sequence[str] = ()
    """The kinds of resources that these are about."""
    invariants: Sequence[Invariant] = ()
    migrations: Sequence[Migration] = ()
    """Of its collections, numbered 1, 2, 3, … One that has been released is never changed or removed."""


def collections_of(features: Iterable[Feature]) -> list[CollectionSpec]:
    """Return all collections, each once."""
    specs = list(chain.from_iterable(feature.collections for feature in features))
    names = [spec.name for spec in specs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"more than one feature declares the collection {', '.join(twice)}")
    return specs


def schema_of(features: Iterable[Feature]) -> DeclaredSchema:
    """Return what the features need of the database."""
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
    """Return all routers in the order in which their routes are tried."""
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
