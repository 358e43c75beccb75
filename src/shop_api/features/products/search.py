"""Words as the search sees them: folded for case and accents, and marked with where they occur."""

import re
import unicodedata
from itertools import islice

_WORD = re.compile(r"[^\W_]+")
_MAX_WORDS = 200
_MAX_WORD_LENGTH = 40

TIERS = (0, 1, 2)
"""Where a word may occur, best first: in the name, in the brand, in category or tags."""


def fold(text: str) -> str:
    """`text` without case and accents, so that `Crème` and `CREME` are the same."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


def words(text: str) -> list[str]:
    """The words of `text`, folded, in order, each cut to 40 characters."""
    return [word[:_MAX_WORD_LENGTH] for word in _WORD.findall(fold(text))]


def terms(name: str, brand: str | None, others: list[str]) -> list[str]:
    """Each different word once, at the best place where it occurs; at most 200."""
    best: dict[str, int] = {}
    for tier, texts in zip(TIERS, ([name], [brand or ""], others), strict=True):
        for text in texts:
            for word in words(text):
                best.setdefault(word, tier)
    return [term(tier, word) for word, tier in islice(best.items(), _MAX_WORDS)]


def term(tier: int, word: str) -> str:
    """`word` as it is stored and looked for at one place. All with one beginning, there, are one range."""
    return f"{tier}{word}"
