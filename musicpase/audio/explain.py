"""Why a file that no decoder takes is no audio, in words its owner understands."""

from typing import BinaryIO

from musicpase.audio.riff import read_wav_header

__all__ = ["explain"]

_MAGIC = (
    (b"version https://git-lfs", "a Git LFS pointer, not the sound itself"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "XML"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"%PDF", "a PDF document"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"MThd", "MIDI: notes without sound"),
    (b"#EXTM3U", "a playlist; pass the files it lists"),
    (b"[playlist]", "a playlist; pass the files it lists"),
    (b"ffconcat", "a playlist; pass the files it lists"),
)


def explain(file: BinaryIO) -> str:
    """Return the reason why `file`, which could not be decoded, is not usable."""
    file.seek(0)
    head = file.read(512)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, what in _MAGIC:
        if start[: len(magic)].lower() == magic.lower():
            return f"not audio ({what})"
    if head[:4] == b"RIFF" and (header := read_wav_header(file)) is not None:
        if header.data_start == 0:
            return "no audio in it (only a header)"
        return f"cannot be decoded: {header.impossible()}"
    if _is_text(head):
        return "not audio (text)"
    return "not audio, damaged at its start, or in a format that is not supported"


def _is_text(head: bytes) -> bool:
    # The cut at 512 bytes may split a character: ignore up to three bytes at the end.
    decoded = head.decode("utf-8", "ignore")
    return len(decoded.encode()) >= len(head) - 3 and all(c.isprintable() or c in "\t\r\n\f" for c in decoded)
