"""The command line as a user meets it: in this process where that is enough, as a process where it is not."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicpase.cli import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run `musicpase ARGS` in this process with `tmp_path` as the current folder."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    def call(*args: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["musicpase", *map(str, args)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        code = exit_.value.code
        assert isinstance(code, int)
        return Outcome(code, *capfd.readouterr())

    yield call
    signal.signal(signal.SIGTERM, before)


def interruptible() -> None:
    """Run in a child before it starts: a shell that starts jobs in the background makes them ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(cwd: Path, *args: str | Path, **environment: str) -> "subprocess.Popen[str]":
    """Start `musicpase ARGS` as a process of its own."""
    command = [sys.executable, "-m", "musicpase", *map(str, args)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        cwd=cwd,
        stdout=pipe,
        stderr=pipe,
        text=True,
        errors="replace",
        env={**os.environ, **environment},
        preexec_fn=interruptible,
    )


def tone(path: Path, seconds: float, hz: float = 440.0, rate: int = 16000) -> Path:
    """A tone with a slow tremolo, in whatever format the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * hz * time) * (1 + 0.5 * np.sin(8 * time)) / 1.5, rate)
    return path


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """A folder with five songs of different lengths and formats, and two files that are none."""
    folder = tmp_path / "songs"
    tone(folder / "b.wav", 3.21, 330)
    tone(folder / "a.flac", 0.5, 220)
    tone(folder / "deep" / "er" / "c.ogg", 6.0, 500, 44100)
    tone(folder / "deep" / "b.wav", 1.0, 150, 22050)
    tone(folder / "z.wav", 12.34, 700, 8000)
    (folder / "cover.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "notes.txt").write_text("not music")
    return folder
