"""A shop's products, made from numbers: the same number is always the same product.

Categories and brands are as uneven as in a real shop (Zipf: the first category holds a fifth of all), prices are
log-normal, descriptions have one to six sentences. An answer has about 600 bytes.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shop_api.cli.demo.catalogue import BRANDS, Uneven

_KINDS = (
    "tea coffee honey jam chocolate biscuits pasta olive-oil vinegar spices mugs teapots kettles plates bowls"
    " cutlery knives pans towels aprons candles lamps cushions blankets rugs vases clocks mirrors frames posters"
    " notebooks pens paints brushes easels puzzles board-games card-games kites balls rackets bottles backpacks"
    " tents stoves torches ropes gloves scarves hats socks shirts jumpers jackets trousers dresses belts watches"
    " earrings necklaces"
).split()
_TRAITS = "classic small large organic hand-made recycled travel winter summer everyday gift limited".split()
_COLOURS = "black white red green blue amber ivory slate rust sage".split()
_MATERIALS = "cotton wool steel glass oak clay paper linen copper cork".split()
_SENTENCES = (
    "Made in small batches by people who have done nothing else for thirty years.",
    "It keeps well in a dry cupboard and better in a full house.",
    "The first choice of our own kitchen.",
    "Comes in a plain box without plastic, ready to be given away.",
    "Wash by hand; it will outlive the machine.",
    "Every piece differs a little, which is the point.",
    "Tested for a year in the rain of the west coast.",
    "Our supplier pays a fair price to the growers and shows the papers.",
    "Refills and spare parts are in stock for at least ten years.",
    "Customers who bought two came back for a third.",
)
CATEGORIES = _KINDS
_TAGS = [*_TRAITS, *_COLOURS, *_MATERIALS]
_UNEVEN_CATEGORIES = Uneven(CATEGORIES)


def product_id(number: int) -> str:
    return f"sku-{number:07}"


def is_public(number: int) -> bool:
    """One in fifty is a draft."""
    return number % 50 != 49


def product(number: int) -> dict[str, Any]:
    """The product of that number, as the import and PUT take it."""
    chance = random.Random(number)  # noqa: S311  # the same products every time are wanted
    kind = _UNEVEN_CATEGORIES.choose(chance)
    brand = BRANDS.choose(chance)
    trait, colour, material = chance.choice(_TRAITS), chance.choice(_COLOURS), chance.choice(_MATERIALS)
    return {
        "product_id": product_id(number),
        "name": f"{brand.split()[0]} {trait} {kind.replace('-', ' ')}, {colour}",
        "description": " ".join(chance.sample(_SENTENCES, chance.randint(1, 6))),
        "price": {"amount": round(chance.lognormvariate(7.8, 0.8)), "currency": "EUR"},
        "stock": 0 if chance.random() < 0.08 else chance.randint(1, 500),
        "category": kind,
        "brand": brand,
        "tags": list(dict.fromkeys([trait, colour, material, *chance.sample(_TAGS, chance.randint(0, 3))])),
        "images": [f"https://images.example/{product_id(number)}/{n}.jpg" for n in range(chance.randint(1, 2))],
        "attributes": {"weight_g": chance.randint(20, 4000), "colour": colour, "organic": trait == "organic"},
        "status": "active" if is_public(number) else "draft",
    }


def replacement(number: int) -> str:
    """A PUT of that product for wrk/requests.lua, which gives it a stock that it has never had."""
    head, tail = json.dumps(product(number) | {"stock": None}).split("null")
    return f"/products/{product_id(number)}\t{head}\t{tail}"


def write(path: Path, count: int) -> None:
    """The first `count` products as JSON Lines."""
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps(product(number)) + "\n")


def public_ids(count: int) -> list[str]:
    """All public ones of the first `count`, shuffled."""
    ids = [product_id(number) for number in range(count) if is_public(number)]
    random.Random(1).shuffle(ids)  # noqa: S311
    return ids


def list_filters() -> Iterator[tuple[str, int]]:
    """A category and the least price in it, in every combination once, in no order; each leaves more than a page of
    what a large enough catalogue has of the category."""
    every = [(category, least) for category in CATEGORIES for least in range(2_000)]
    random.Random(2).shuffle(every)  # noqa: S311
    yield from every
