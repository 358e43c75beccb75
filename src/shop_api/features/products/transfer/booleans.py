"""Booleans as spreadsheets write them: a closed list, since a word that is guessed could make a draft public."""

import unicodedata

_TRUE = """
    true yes 1 wahr ja vrai oui verdadero sí vero sì verdadeiro sim waar sant sand sann tosi kyllä prawda tak pravda
    ano igaz igen adevărat da doğru evet αληθησ αληθής ναι истина да 真 是 はい
"""
_FALSE = """
    false no 0 falsch nein faux non falso não onwaar nee falskt nej falsk usann nei epätosi ei fałsz nie nepravda ne
    hamis nem fals nu yanlış hayır ψευδησ ψευδής όχι ложь нет 假 否 いいえ
"""


def folded(word: str) -> str:
    """Return `word` in a form that is the same for capitals and small letters, Turkish ones included."""
    # Without the replacements, the capitals of YANLIŞ and HAYIR fold to other letters than their small ones.
    return unicodedata.normalize("NFC", word).strip().casefold().replace("ı", "i").replace("i\u0307", "i")


_WORDS = {folded(word): True for word in _TRUE.split()} | {folded(word): False for word in _FALSE.split()}


def as_boolean(text: str) -> bool:
    """Return the boolean that `text` means: `TRUE`, `yes` or `1`, or what Excel writes in English, German, French,
    Spanish, Italian, Portuguese, Dutch, Swedish, Danish, Norwegian, Finnish, Polish, Czech, Hungarian, Romanian,
    Greek, Turkish, Russian, Japanese and Chinese. Raises ValueError for any other word."""
    value = _WORDS.get(folded(text))
    if value is None:
        raise ValueError(f"{text[:40]!r} is neither true nor false")
    return value
