"""The form in which text of others is shown: one line, with nothing that a terminal or a reader of logs would obey."""

import re

# What `str.isprintable` lets through although it is not seen: fillers, joiners and selectors (Unicode's
# Default_Ignorable_Code_Point), except U+FE0E and U+FE0F, which emoji carry.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]")


def printable(text: str) -> str:
    r"""Return `text` with everything escaped that is not seen as itself: `\n`, `\x1b`, `\u202e`, lone surrogates.

    It is done where text is shown. What is stored, and what errors carry as attributes, stays as it was given.
    """
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    return "".join(
        character if character.isprintable() and not _UNSEEN.match(character) else _escaped(character)
        for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
