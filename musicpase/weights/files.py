"""Opening files that may be anything, naming what they are instead."""

import stat
from io import BufferedReader
from pathlib import Path

from musicpase.errors import ModelError

__all__ = ["open_regular", "shown"]

SNIFFED_BYTES = 512  # enough for any file's signature
MAX_FILE_BYTES = 256 << 20  # PASE+ takes 17 MB in fp16, 33 in fp32, 100 with its optimiser


def shown(value: object, limit: int = 300) -> str:
    """A name from outside as one printable line: control characters escaped, cut after `limit` characters."""
    text = str(value)
    text = text if len(text) <= limit else f"{text[:limit]}..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def open_regular(path: Path) -> tuple[BufferedReader, int]:
    """Open a regular file that is not obviously something else; a device or a pipe is never touched.

    Returns:
        The open file, at its start, and its size [bytes].

    Raises:
        ModelError: it does not exist, cannot be read, is no regular file, is too large, is empty, a Git LFS pointer
            or HTML.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{shown(path)}: not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise ModelError(f"{shown(path)}: {status.st_size} bytes are too many for an encoder (at most 256 MiB)")
        file = path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{shown(path)}: cannot be read ({reason})") from None
    problem = _foreign(file.read(SNIFFED_BYTES))
    if problem:
        file.close()
        raise ModelError(f"{shown(path)}: {problem}")
    file.seek(0)
    return file, status.st_size


def _foreign(start: bytes) -> str | None:
    """What a download or a clone left in the place of weights, and what to do about it."""
    if not start:
        return "the file is empty; fetch it again"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the weights themselves; run `git lfs pull`"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "an HTML or XML page, not weights (a proxy or login page was saved?); fetch it again"
    return None
