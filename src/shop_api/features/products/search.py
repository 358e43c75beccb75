"""Search words: folded for case and accents, and prefixed with the tier in which they occur."""

import re
import unicodedata
from itertools import islice

_WORD = re.compile(r"[^\W_]+")
_MAX_WORDS = 200
_MAX_WORD_LENGTH = 40

TIERS = (0, 1, 2)
"""Where a word occurs, best first: in the name, in the brand, in category or tags."""


def fold(text: str) -> str:
    """Return `text` without case and accents, so that `Crème` and `CREME` are equal."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


def words(text: str) -> list[str]:
    """Return the folded words of `text` in order, each truncated to 40 characters."""
    return [word[:_MAX_WORD_LENGTH] for word in _WORD.findall(fold(text))]


def terms(name: str, brand: str | None, others: list[str]) -> list[str]:
    """Return at most 200 terms: each distinct word once, with the best tier in which it occurs."""
    best: dict[str, int] = {}
    for tier, texts in zip(TIERS, ([name], [brand or ""], others), strict=True):
        for text in texts:
            for word in words(text):
                best.setdefault(word, tier)
    return [term(tier, word) for word, tier in islice(best.items(), _MAX_WORDS)]


def term(tier: int, word: str) -> str:
    """Return the stored form of `word` in a tier. All words of a tier with the same prefix form one index range."""
    return f"{tier}{word}"
