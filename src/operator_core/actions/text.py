"""Display of text from outside: one line, without characters that a terminal or a log reader would interpret."""

import re
import unicodedata

# Invisible characters that `str.isprintable` accepts: fillers, joiners and selectors (Unicode's
# Default_Ignorable_Code_Point), except U+FE0E and U+FE0F, which emoji carry.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]")


def printable(text: str) -> str:
    r"""Return `text` with each character escaped that does not show as itself: `\n`, `\x1b`, `\u202e`, lone surrogates.

    Escape text only for display. Stored values and error attributes stay unchanged.
    """
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    return "".join(
        character if character.isprintable() and not _UNSEEN.match(character) else _escaped(character)
        for character in text
    )


def hidden_characters(text: str) -> list[str]:
    """Return the characters of a text that do not show as themselves, each once: `U+202E RIGHT-TO-LEFT OVERRIDE`."""
    hidden = sorted({character for character in text if not character.isprintable() or _UNSEEN.match(character)})
    return [f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip() for character in hidden]


def shows_as_itself(text: str) -> bool:
    """Return whether a text looks like what it is: no hidden character, and no blank around it."""
    return text == text.strip() and not hidden_characters(text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
