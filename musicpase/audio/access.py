"""Opening one audio input: a regular file, or a URL that is copied to a temporary file first."""

# Paths are strings here, not pathlib's: they may be URLs, and hold bytes that are not UTF-8.
# ruff: noqa: PTH116, PTH123
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from musicpase.audio.names import escape, is_url
from musicpase.errors import AudioError, MissingExtraError

__all__ = ["import_fsspec", "open_audio", "sha256"]

_CHUNK = 1 << 20  # bytes per read when copying or hashing


@contextmanager
def open_audio(path: str | os.PathLike[str], progress: Callable[[], None] | None = None) -> Iterator[BinaryIO]:
    """Open `path` for reading bytes, seekable and unbuffered.

    Only regular files are opened: reading a FIFO may wait forever and a device may never end. A URL is copied to
    an anonymous temporary file first, because most containers need to seek.

    Args:
        path: File path or http(s), s3, gs URL.
        progress: Called after each megabyte of a download.

    Yields:
        The file, at its start, not empty.

    Raises:
        AudioError: Missing, unreadable, not a regular file, empty, or the download failed.
        MissingExtraError: A URL, and fsspec is not installed.
    """
    name = os.fspath(path)
    with _download(name, progress or _nothing) if is_url(name) else _open_regular(name) as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise AudioError("empty file")
        yield file


def sha256(file: BinaryIO) -> str:
    """Return the SHA-256 of the whole of an open file, in hex."""
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def import_fsspec() -> Any:
    """Return the fsspec module.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError('URLs need fsspec: pip install "musicpase[remote]"') from None
    return fsspec


def _nothing() -> None:
    pass


def _open_regular(path: str) -> BinaryIO:
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise AudioError("is a folder" if stat.S_ISDIR(mode) else "not a regular file")
        # By descriptor, so that no decoder sees the name and believes its extension instead of the content.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise AudioError(error.strerror or "cannot be opened") from None
    except ValueError:
        raise AudioError("not a valid file name") from None
    return cast(BinaryIO, open(descriptor, "rb", buffering=0))


def _download(url: str, progress: Callable[[], None]) -> BinaryIO:
    fsspec = import_fsspec()
    local = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the caller closes it
    try:
        with fsspec.open(url, "rb") as remote:
            while chunk := remote.read(_CHUNK):
                local.write(chunk)
                progress()
    except ImportError as error:  # fsspec imports what a protocol needs when it is first used
        local.close()
        raise MissingExtraError(f'{escape(str(error))}: pip install "musicpase[remote]"') from None
    except Exception as error:
        local.close()
        detail = escape(str(error).replace(url, "").strip(" :'\"")) or type(error).__name__
        raise AudioError(f"cannot be downloaded ({detail[:200]})") from error
    local.seek(0)
    return cast(BinaryIO, local)
