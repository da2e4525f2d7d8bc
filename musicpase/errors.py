"""The errors that musicpase raises on purpose; every message says what, where, why and what to do."""

__all__ = [
    "AudioError",
    "ConfigError",
    "MissingExtraError",
    "ModelError",
    "MusicpaseError",
    "OutputError",
]


class MusicpaseError(Exception):
    """Base of all errors below: catch this one to catch whatever musicpase raises on purpose."""


class AudioError(MusicpaseError):
    """One audio input cannot be used (unreadable, empty, not audio, too short, non-finite)."""


class ModelError(MusicpaseError):
    """Weights or a model cannot be found, read, verified or trusted."""


class ConfigError(MusicpaseError):
    """A recipe, an option or an argument has a value that makes no sense."""


class OutputError(MusicpaseError):
    """An output cannot be written where it was asked for, or holds something else already."""


class MissingExtraError(MusicpaseError):
    """An optional dependency is not installed; the message names the `pip install` that adds it."""
