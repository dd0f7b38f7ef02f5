"""Text with which an agent would forge a line of a log, or steer the terminal of whoever looks."""

FORGED = "2026-01-01 00:00:00,000 CRITICAL operator_core.worker: all is well"
CONTROLS = "".join(map(chr, [*range(1, 32), *range(0x7F, 0xA0)]))
UNSEEN = "\u00ad\u061c\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067"
UNSEEN += "\u2068\u2069\ufeff\U000e0041\u115f\u3164\u034f"
HOSTILE = f"x\r\n{FORGED}\x1b[2J\x1b]0;title\x07\x9b31m{CONTROLS}{UNSEEN}"
"""Everything at once, short enough for a name; the engines store all of it."""

_RAW = {*CONTROLS, *UNSEEN, "\x00", *map(chr, range(0xD800, 0xE000))} - {"\n"}


def assert_harmless(text: str) -> None:
    """See that nothing in it is obeyed, and that no line of it was written by an agent."""
    assert {character for character in text if character in _RAW} == set()
    assert [line for line in text.split("\n") if line.startswith(FORGED[:10]) and FORGED[10:] in line] == []
