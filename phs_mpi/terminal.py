"""Text that may come from anywhere, made fit for a terminal."""

from __future__ import annotations


def printable(text: str, *, lines: bool = True) -> str:
    """`text` with what a terminal would obey (escape sequences, say) spelt out.

    Parameters
    ----------
    text : str
        May have been read from a results file that somebody else has made.
    lines : bool
        Whether it may have several lines.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (lines and c == "\n") else _spelt(c) for c in text)


def _spelt(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
