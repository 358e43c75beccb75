"""Which stored products the variants of a file are."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from shop_api.features.products.models import Product
from shop_api.features.products.transfer.identity import Variant, id_of
from shop_api.features.products.transfer.targets import Products


class Match(NamedTuple):
    """The product that a variant is."""

    product_id: str
    is_grouped: bool = True
    """False for a product that needs no group: its id is the handle, and it has no other variants."""


def match(variants: Sequence[Variant], stored: Iterable[Product]) -> list[Match]:
    """Return the product for each variant of one handle: all variants that the file has, also those that will not be
    stored. `stored` has the products of this group, and those with any of the ids of the variants.

    A variant stays the same product as long as its SKU or its options do, whatever else is added or removed.
    """
    stored = list(stored)
    grouped = [product for product in stored if product.group == variants[0].handle]
    found: dict[int, Match] = {}
    taken: set[str] = set()
    for same in (_same_sku_and_options, _same_sku, _same_options):
        for place, product in _pairs(variants, grouped, same, found, taken):
            found[place] = Match(product.product_id)
            taken.add(product.product_id)
    by_id = {product.product_id: product for product in stored}
    for place, variant in enumerate(variants):
        if place not in found:
            known = _stored_before(variant, by_id, taken) or _ungrouped(variant, by_id, taken)
            found[place] = known or _new(variant, by_id)
            taken.add(found[place].product_id)
    return [found[place] for place in range(len(variants))]


async def matches_of(variants: Mapping[str, Sequence[Variant]], products: Products) -> dict[Variant, Match]:
    """Return the product for each of `variants`, by handle."""
    by_id = await products.find_many({id_ for own in variants.values() for variant in own for id_ in variant.ids()})
    by_group: dict[str, list[Product]] = {}
    for product in await products.find_variants(variants.keys()):
        by_group.setdefault(product.group or "", []).append(product)
    matches: dict[Variant, Match] = {}
    for handle, own in variants.items():
        stored = {product.product_id: product for product in by_group.get(handle, [])}
        stored |= {id_: by_id[id_] for variant in own for id_ in variant.ids() if id_ in by_id}
        matches |= zip(own, match(own, list(stored.values())), strict=True)
    return matches


_Key = Callable[[Variant | Product], object]


def _options(one: Variant | Product) -> tuple[str, ...]:
    return one.values if isinstance(one, Variant) else tuple(option.value for option in one.options)


def _same_sku_and_options(one: Variant | Product) -> object:
    return one.sku, _options(one)


def _same_sku(one: Variant | Product) -> object:
    return one.sku


def _same_options(one: Variant | Product) -> object:
    return _options(one)


def _pairs(
    variants: Sequence[Variant],
    grouped: Sequence[Product],
    key: _Key,
    found: Mapping[int, Match],
    taken: set[str],
) -> list[tuple[int, Product]]:
    """Return the places of variants with the products that have the same key, if no other of either has it."""
    places: dict[object, list[int]] = {}
    products: dict[object, list[Product]] = {}
    for place, variant in enumerate(variants):
        if place not in found and key(variant) is not None:
            places.setdefault(key(variant), []).append(place)
    for product in grouped:
        if product.product_id not in taken:
            products.setdefault(key(product), []).append(product)
    return [
        (at[0], products[same][0]) for same, at in places.items() if len(at) == 1 and len(products.get(same, [])) == 1
    ]


def _stored_before(variant: Variant, by_id: Mapping[str, Product], taken: set[str]) -> Match | None:
    """Return the match with the product that this variant was stored as, if some of its options could not be stored:
    the one with the id made from all of them, or the only one of its handle, unless its options say otherwise."""
    product = by_id.get(variant.full_id)
    if product is None and variant.is_single and variant.sku is None:
        product = by_id.get(id_of(variant.handle))
        if product is not None and not set(_options(product)) <= set(variant.values):
            return None
    if product is None or product.group != variant.handle or product.product_id in taken:
        return None
    return Match(product.product_id)


def _ungrouped(variant: Variant, by_id: Mapping[str, Product], taken: set[str]) -> Match | None:
    """Return the match with a product that belongs to no group: made by another way, or before there were groups."""
    for id_ in (variant.plain_id, id_of(variant.handle) if variant.is_single else None):
        product = by_id.get(id_) if id_ else None
        if product is None or product.group is not None or product.product_id in taken:
            continue
        of_another_handle = product.attributes.get("handle", variant.handle) != variant.handle
        if product.sku in (None, variant.sku) and not of_another_handle:
            return Match(product.product_id, not (variant.is_single and product.product_id == variant.handle))
    return None


def _new(variant: Variant, by_id: Mapping[str, Product]) -> Match:
    plain = variant.plain_id
    return Match(plain if plain and variant.is_unique and plain not in by_id else variant.full_id)
