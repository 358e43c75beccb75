"""Words as the search sees them: folded for case and accents."""

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")
_MAX_WORDS = 200
_MAX_WORD_LENGTH = 40


def fold(text: str) -> str:
    """`text` without case and accents, so that `Crème` and `CREME` are the same."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


def words(text: str) -> list[str]:
    """The words of `text`, folded, in order, each cut to 40 characters."""
    return [word[:_MAX_WORD_LENGTH] for word in _WORD.findall(fold(text))]


def different_words(*texts: str | None) -> list[str]:
    """Those of all `texts`, each once."""
    found = (word for text in texts if text for word in words(text))
    return list(dict.fromkeys(found))[:_MAX_WORDS]
