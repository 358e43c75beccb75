"""Words as the search sees them: folded for case and accents."""

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")
MAX_WORDS = 200
_MAX_WORD_LENGTH = 40


def fold(text: str) -> str:
    """`text` without case and accents, so that `Crème` and `CREME` are the same."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


def words(*texts: str | None) -> list[str]:
    """The different words of `texts`, folded, in order of appearance, each cut to 40 characters."""
    found = (word[:_MAX_WORD_LENGTH] for text in texts if text for word in _WORD.findall(fold(text)))
    return list(dict.fromkeys(found))[:MAX_WORDS]
