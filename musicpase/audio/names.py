"""Names as text: what is safe to print on a terminal, and what is a URL."""

import re

__all__ = ["escape", "is_url"]

_URL = re.compile(r"^(https?|s3|gs|gcs)://", re.IGNORECASE)


def escape(text: str) -> str:
    r"""Return `text` on one line and without anything that a terminal would obey.

    Control characters, line separators, invisible and direction-changing characters become `\n`, `\x1b`,
    `\u202e`...; bytes that were not valid UTF-8 (surrogateescape) become `\xNN`. All else stays as it is, so the
    result is for people to read, not for programs to reverse.

    Args:
        text: Any file name or message.

    Returns:
        Printable text.

    >>> escape("caf\u00e9\n\x1b[31m\udcff")
    'café\\n\\x1b[31m\\xff'
    """
    return text if text.isprintable() else "".join(_escape_character(c) for c in text)


def _escape_character(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # one undecodable byte, as surrogateescape stores it
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def is_url(path: str) -> bool:
    """Whether `path` is fetched through fsspec (http, https, s3, gs) instead of opened as a file."""
    return _URL.match(path) is not None
