"""Made-up products, determined by seed and number. The words are in words.toml."""

import math
import random
import tomllib
from bisect import bisect
from collections.abc import Sequence
from importlib.resources import files
from itertools import accumulate
from typing import Any, Generic, TypeVar

from slugify import slugify

from shop_api.kernel.money import EXPONENTS

T = TypeVar("T")

_OUT_OF_STOCK = 0.07
_STATUSES = ["active"] * 94 + ["draft"] * 4 + ["archived"] * 2
# Price steps in minor units, by the number of decimal places of the currency.
_STEPS = {0: 100, 2: 50, 3: 250}


class Uneven(Generic[T]):
    """A Zipf distribution: the second value is half as frequent as the first, the third a third, and so on, like
    categories and brands in a real shop."""

    def __init__(self, values: Sequence[T]) -> None:
        self.values = values
        total = list(accumulate(1 / place for place in range(1, len(values) + 1)))
        self._shares = [share / total[-1] for share in total]

    def choose(self, chance: random.Random) -> T:
        return self.values[bisect(self._shares, chance.random())]


_WORDS = tomllib.loads(files(__package__).joinpath("words.toml").read_text("utf-8"))
BRANDS = Uneven([f"{maker} {house}" for maker in _WORDS["makers"] for house in _WORDS["houses"]])
CATEGORIES: Uneven[dict[str, Any]] = Uneven(_WORDS["category"])


def product(seed: int, number: int) -> dict[str, Any]:
    """Return a product in the format of the import and of `PUT /products/{product_id}`."""
    chance = random.Random(f"{seed}/{number}")  # noqa: S311  # nosec B311  # must be reproducible
    category = CATEGORIES.choose(chance)
    kind, form = chance.choice(category["kinds"]), chance.choice(category["forms"])
    name = f"{kind}, {form}"
    product_id = f"{slugify(name, max_length=50)}-{number:03}"
    return {
        "product_id": product_id,
        "name": name,
        "description": " ".join(chance.sample(category["sentences"], chance.randint(2, 3))),
        "price": _price(category, chance),
        "stock": 0 if chance.random() < _OUT_OF_STOCK else chance.randint(1, 180),
        "category": category["slug"],
        "brand": BRANDS.choose(chance),
        "tags": sorted(chance.sample(category["tags"], chance.randint(1, 3))),
        "images": [f"https://images.example/{product_id}-{n}.jpg" for n in range(1, chance.randint(2, 4))],
        "attributes": {name: chance.choice(values) for name, values in category["attributes"].items()},
        "status": chance.choice(_STATUSES),
    }


def _price(category: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Return a price, log-uniform in the range of the category."""
    low, high = category["prices"]
    exponent = EXPONENTS[category["currency"]]
    step = _STEPS[exponent]
    units = math.exp(chance.uniform(math.log(low), math.log(high)))
    return {"amount": max(step, round(units * 10**exponent / step) * step), "currency": category["currency"]}
