"""Files that exist whole or not at all, and errors that name them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from musicpase.errors import OutputError

__all__ = ["Staging", "atomic", "explained", "write_atomic"]


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError on an output into an OutputError that names the path and the system's reason."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


class Staging:
    """Files that appear together: all are written and synced under temporary names, then renamed in a row.

    Temporary names are always the same for a file, so that what a killed run leaves is replaced by the next.

    Raises:
        OutputError: one of them cannot be written; what was there before is untouched.
    """

    def __init__(self) -> None:
        self._files: list[tuple[Path, Path]] = []

    @contextmanager
    def file(self, path: Path) -> Iterator[IO[bytes]]:
        """A file that gets the name `path` when all are written."""
        # 255 bytes is as long as a name may be on the usual file systems.
        temporary = path.with_name(f".{os.fsdecode(os.fsencode(path.name)[:240])}.tmp")
        self._files.append((temporary, path))
        with explained(path), temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def __enter__(self) -> "Staging":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            for temporary, path in self._files if kind is None else ():
                with explained(path):
                    temporary.replace(path)
        finally:
            for temporary, _ in self._files:
                temporary.unlink(missing_ok=True)


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """One file that appears under its name whole, synced to disk, or not at all; errors as for `Staging`."""
    with Staging() as staging, staging.file(path) as file:
        yield file


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole file in one step; errors as for `Staging`."""
    with atomic(path) as file:
        file.write(data)
