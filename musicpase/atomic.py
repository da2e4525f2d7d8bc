"""Files that exist whole or not at all, and errors that name them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from musicpase.errors import OutputError

__all__ = ["atomic", "explained", "write_atomic"]


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError on an output into an OutputError that names the path and the system's reason."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name whole, synced to disk, or not at all.

    Raises:
        OutputError: it cannot be written; what was there before is untouched.
    """
    # 255 bytes is as long as a name may be on the usual file systems.
    temporary = path.with_name(f".{os.fsdecode(os.fsencode(path.name)[:200])}.{os.getpid()}.tmp")
    try:
        with explained(path):
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole file in one step; errors as for `atomic`."""
    with atomic(path) as file:
        file.write(data)
