"""The first decoder: FFmpeg through PyAV, as blocks of samples with all channels."""

import os
from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from numpy.typing import NDArray

from musicpase.audio.health import Health
from musicpase.audio.riff import read_wav_header
from musicpase.errors import AudioError

__all__ = ["read_pyav"]

av.logging.set_level(None)  # decoders talk to stderr; what they find is reported through Health

# Demuxers that may run. Left out: playlists and others that open further files (hls, concat, dash, sdp), images,
# scripts, and raw formats that any bytes would satisfy.
_DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,avr,caf,dsf,dts,dtshd,eac3,flac,flv,gsm,iff,ircam,loas,"
    "matroska,mlp,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,nistsphere,nut,ogg,oma,pvf,qoa,rm,rso,shn,sox,tak,"
    "truehd,tta,voc,w64,wav,wv,wve,xwma"
)
# Demuxers whose duration is written in the file. That of the others is an estimate from the bit rate.
_TIMED = {"aiff", "ape", "asf", "au", "caf", "flac", "matroska,webm", "ogg", "tak", "tta", "w64", "wav", "wv"}
_LOSSLESS = ("pcm_", "flac", "alac", "wavpack", "tta", "ape", "tak")  # exact to the sample, no codec delay
_BATCH = 1 << 17  # values per block: enough that NumPy's and soxr's calls cost nothing, half a megabyte
_MAX_ERRORS = 100  # demuxer errors in a row after which the rest is given up

MaybePacket: TypeAlias = "Packet[AudioStream] | None"
"""A packet, or None where the demuxer stumbled."""

Key: TypeAlias = tuple[int, str, str]
"""Rate, channel layout and sample format of a frame: what a conversion is set up for."""


def read_pyav(file: BinaryIO, health: Health) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Decode the first audio stream of an open file.

    Args:
        file: Seekable binary file.
        health: Receives the claimed length and every damage that is passed over.

    Yields:
        `(block, rate)`: `(samples, channels)` float32 and its sample rate [Hz]; both shape and rate may change.

    Raises:
        AudioError: No demuxer or decoder takes the file. Never after the first block.
    """
    # With a file object and this list no demuxer can open anything else, neither a file nor a connection.
    options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "none"}
    header = read_wav_header(file)
    # Of several `data` chunks FFmpeg takes the last, which is not the sound: let it see no more than the first.
    several = header is not None and header.data_chunks > 1
    content = _Head(file, header.data_start + header.data_size) if header and several else file
    content.seek(0)
    try:
        container = av.open(content, "r", container_options=options, metadata_errors="replace", buffer_size=1 << 18)
    except Exception as error:  # FFmpegError, ValueError, EOFError, AttributeError...: PyAV raises all kinds
        raise AudioError("no demuxer takes it") from error
    with container:
        if not container.streams.audio:
            return
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise AudioError("its codec is not supported")
        stream.codec_context.thread_count = 1  # one thread per worker process: the workers share the cores
        yield from _blocks(_frames(file, container, stream, health))


class _Head:
    """The first `size` bytes of a file, with the methods that PyAV calls."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        return self._file.read(max(0, min(size, self._size - self._file.tell())))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            offset, whence = self._size + offset, os.SEEK_SET
        return self._file.seek(offset, whence)


def _frames(file: BinaryIO, container: InputContainer, stream: AudioStream, health: Health) -> Iterator[AudioFrame]:
    """Decode packet by packet; what cannot be decoded is passed over and noted."""
    seconds = 0.0
    for number, packet in enumerate(_packets(container, stream)):
        if number == 0:
            _read_claims(file, container, stream, packet, health)
        frames: list[AudioFrame] = []
        if packet is None:
            health.mark(seconds)
        else:
            try:
                frames = packet.decode()
            except Exception:
                health.mark(seconds, float((packet.duration or 0) * (packet.time_base or 0)))
            if packet.is_corrupt and health.cuts_matter:  # the decoder may have made do with a part
                health.mark(seconds)
        for frame in frames:
            seconds += frame.samples / frame.sample_rate
            yield frame
    if container.format.name == "ogg" and not _ogg_ends(file):
        health.mark(seconds)


def _packets(container: InputContainer, stream: AudioStream) -> Iterator[MaybePacket]:
    """Yield the packets of `stream`, None for an error of the demuxer; go on behind it."""
    errors = 0
    while errors < _MAX_ERRORS:
        try:
            for packet in container.demux(stream):
                errors = 0
                yield packet
            return
        except Exception:
            errors += 1
            yield None


def _read_claims(
    file: BinaryIO, container: InputContainer, stream: AudioStream, packet: MaybePacket, health: Health
) -> None:
    name = container.format.name
    if stream.codec_context.name.startswith(_LOSSLESS):
        health.tolerance_s = 1e-3
    elif name == "mp3":
        health.tolerance_s = 0.015  # less than a frame
    timed = name in _TIMED or name.startswith("mov,") or (name == "mp3" and _has_frame_count(file, packet))
    if timed and stream.duration is not None and stream.time_base is not None:
        health.claimed_s = float(stream.duration * stream.time_base)
    elif timed and container.duration is not None and len(container.streams) == 1:
        health.claimed_s = container.duration / 1e6
    start_s = float((stream.start_time or 0) * (stream.time_base or 0))
    if name == "ogg" and start_s > 0.5:  # the pages before were damaged and passed over
        health.mark(0.0, start_s)
        health.claimed_s = (health.claimed_s or 0.0) + start_s
    if name == "wav":  # FFmpeg shortens the claim of a cut file to what is there
        position = file.tell()
        if header := read_wav_header(file):
            health.cuts_matter = False  # of a piped file every last packet looks cut
            health.claimed_s = header.claimed_s(os.fstat(file.fileno()).st_size) or health.claimed_s
        file.seek(position)


def _has_frame_count(file: BinaryIO, packet: MaybePacket) -> bool:
    """Whether an mp3 starts with a header frame (which FFmpeg swallows) that counts the frames."""
    if packet is None or packet.pos is None:
        return False
    position = file.tell()
    file.seek(max(0, packet.pos - 3000))  # the longest frame has 2,881 bytes
    before = file.read(packet.pos - file.tell())
    file.seek(position)
    return any(mark in before for mark in (b"Xing", b"Info", b"VBRI"))


def _ogg_ends(file: BinaryIO) -> bool:
    """Whether the last Ogg page is whole and marked as the last: the container states no length elsewhere."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - (1 << 17)))  # a page has at most 65,307 bytes
    tail = file.read(1 << 17)
    page = tail[tail.rfind(b"OggS") :] if b"OggS" in tail else b""
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


def _blocks(frames: Iterator[AudioFrame]) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Convert frames to float32 and join them to larger blocks."""
    key: Key | None = None
    parts: list[NDArray[np.float32]] = []
    size = 0
    for frame in frames:
        new_key = (frame.sample_rate, frame.layout.name, frame.format.name)
        if parts and (new_key != key or size >= _BATCH):
            assert key is not None
            yield np.concatenate(parts), key[0]
            parts, size = [], 0
        if new_key != key:  # a converter serves one kind of frame; the kind may change in mid-stream
            key, converter = new_key, av.AudioResampler(format="flt")
        for converted in converter.resample(frame):
            parts.append(_samples(converted))
            size += parts[-1].size
    if parts:
        assert key is not None
        yield np.concatenate(parts), key[0]


def _samples(frame: AudioFrame) -> NDArray[np.float32]:
    # Packed floats are one plane; to_ndarray() on planar frames of 8 and more channels crashes (PyAV 18.1).
    channels = frame.layout.nb_channels
    plane = memoryview(frame.planes[0])  # may be longer than its samples
    return np.frombuffer(plane, np.float32, frame.samples * channels).reshape(-1, channels)
