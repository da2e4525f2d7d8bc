"""What the user typed -> paths and URLs: lists of inputs, glob patterns, folders behind a URL."""

# Paths are strings here, not pathlib's: what the user typed must come back unchanged.
# ruff: noqa: PTH118, PTH123, PTH207
import glob
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath

from musicpase.audio.access import import_fsspec
from musicpase.errors import ConfigError

__all__ = ["expand_glob", "expand_lists", "expand_url"]


def expand_lists(
    inputs: Iterable[str | os.PathLike[str]], files_from: str | os.PathLike[str] | None
) -> Iterator[str]:
    """Replace `-` by the list on standard input, and add the list in the file `files_from` (`-`: likewise).

    Raises:
        ConfigError: `files_from` cannot be read.
    """
    for item in inputs:
        text = os.fspath(item)
        if text == "-":
            yield from _read_list(_content(text))
        else:
            yield text
    if files_from is not None:
        yield from _read_list(_content(os.fspath(files_from)))


def _content(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f"cannot read the list {path}: {error.strerror}") from None


def _read_list(content: bytes) -> list[str]:
    content = content.removeprefix(b"\xef\xbb\xbf")
    items = content.split(b"\0") if b"\0" in content else [line.rstrip(b"\r") for line in content.split(b"\n")]
    return [os.fsdecode(item) for item in items if item]


def expand_glob(pattern: str, failed: Callable[[OSError], None]) -> list[str]:
    """Return the paths that match, as a shell would: hidden names only where the pattern says so.

    `**` stands for any number of folders. It does not follow links to folders: glob.glob does, and with two links
    that lead back up it would never end.

    Args:
        pattern: Glob pattern.
        failed: Receives the errors of folders that cannot be read.
    """
    head, deep, tail = re.fullmatch(r"(.*?)(?:(?<![^/])(\*\*)(?:/+(.*))?)?", pattern, re.DOTALL).groups()  # type: ignore[union-attr] # matches all
    if not deep:
        return glob.glob(pattern)
    matches = []
    for root in glob.glob(head) if head else [""]:
        for folder, below, names in os.walk(root or ".", onerror=failed):
            below[:] = [name for name in below if not name.startswith(".")]
            matches += [os.path.join(folder, name) for name in names if not name.startswith(".")]
    return [path for path in matches if PurePath(path).match(tail or "*")]


def expand_url(url: str, wanted: Callable[[str], bool]) -> Iterator[str]:
    """Return the URLs of the wanted files in a folder (trailing slash) or of a pattern (`*`); or the URL itself.

    Raises:
        MissingExtraError: fsspec is not installed.
        Exception: Whatever fsspec raises: no connection, an error of the server, a package that is missing.
    """
    fsspec = import_fsspec()
    if not url.endswith("/") and "*" not in url:
        yield url
        return
    system, path = fsspec.core.url_to_fs(url)
    found = system.glob(path) if "*" in url else system.find(path)
    yield from (system.unstrip_protocol(name) for name in found if wanted(name))
