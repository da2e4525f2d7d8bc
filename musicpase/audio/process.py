"""One decoding process (`worker.py`) as its parent sees it: start, feed, time out, end."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from musicpase.audio import worker
from musicpase.errors import AudioError

__all__ = ["TICK", "Process"]

TICK = 0.25
"""Time between two calls of `Process.tick` [s]."""

_CODE = "from musicpase.audio.worker import main; main()"
_START_TIMEOUT = 120.0  # s; importing from a cold network disk is slow


class Process:
    """One worker process and the pipes to it."""

    def __init__(self, timeout: float) -> None:
        # The parent's module path and nothing else: a folder of songs may hold a file called `random.py`.
        code = f"import sys; sys.path[:] = {sys.path!r}; {_CODE}"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders write there
            bufsize=0,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C in the terminal goes to the parent alone
        )
        self.alive = True
        self._timeout = timeout
        self._limit = _START_TIMEOUT
        self._reading = False
        self._silent_s = 0.0
        self._timed_out = False

    def wait_until_ready(self) -> None:
        """Wait until the imports are done.

        Raises:
            AudioError: The process ended instead.
        """
        try:
            self._read()
        except EOFError:
            status = self.close()
            hint = "does `python -c 'import musicpase.audio'` work?"
            raise AudioError(f"the decoding processes cannot start (exit status {status}); {hint}") from None
        self._limit = self._timeout

    def run(self, task: dict[str, Any]) -> Iterator[tuple[int, worker.Payload]]:
        """Yield the messages of one file; a process that dies gives a FAILURE, and is not `alive` any more."""
        try:
            self._write(json.dumps(task).encode() + b"\n")
            while True:
                kind, payload = self._read()
                if kind != worker.PROGRESS:
                    yield kind, payload
                if kind in (worker.END, worker.FAILURE):
                    return
        except (EOFError, OSError):
            self.close()
            yield worker.FAILURE, json.dumps(self._cause_of_death()).encode()

    def kill(self) -> None:
        """End the process; from any thread."""
        self.alive = False
        self._process.kill()

    def close(self) -> int:
        """End the process and the pipes; from the thread that reads. Return the exit status."""
        self.kill()
        with contextlib.suppress(OSError):
            self._process.communicate()
        return self._process.wait()

    def tick(self) -> None:
        """Count the time that passes without a message while one is waited for.

        Counted in ticks, not read from a clock: a parent that was stopped for an hour has not waited for one.
        """
        if self._reading and self.alive:
            self._silent_s += TICK
            if self._silent_s > self._limit:
                self._timed_out = True
                self._process.kill()

    def _cause_of_death(self) -> str:
        status = self._process.wait()
        if self._timed_out:
            return f"decoder made no progress for {self._timeout:g} s"
        return f"decoder crashed (signal {-status})" if status < 0 else "decoder crashed"

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)

    def _read(self) -> tuple[int, bytearray]:
        self._silent_s, self._reading = 0.0, True
        try:
            kind, size = worker.HEADER.unpack(self._read_exactly(worker.HEADER.size))
            return kind, self._read_exactly(size)
        finally:
            self._reading = False

    def _read_exactly(self, size: int) -> bytearray:
        assert self._process.stdout is not None
        data = bytearray(size)
        view = memoryview(data)
        while len(view):
            got = self._process.stdout.readinto(view)  # type: ignore[attr-defined] # raw: bufsize is 0
            if not got:
                raise EOFError
            view = view[got:]
        return data
