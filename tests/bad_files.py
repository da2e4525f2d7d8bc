"""One file of every class of bad, damaged or odd input that a folder of songs may hold, made on the spot."""

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream
from av.container import OutputContainer
from numpy.typing import NDArray

Array = NDArray[np.float32]
RATE = 44_100
SECONDS = 3.0


@dataclass(frozen=True)
class Case:
    """A file and what has to become of it; `fragment` is part of the reason or the warning."""

    id: str
    path: Path
    expected: Literal["ok", "warning", "skipped", "ok or warning", "warning or skipped", "any"]
    fragment: str = ""


def music(rate: int = RATE, seconds: float = SECONDS, channels: int = 2) -> Array:
    """A chord with a little noise, `(samples, channels)`; every channel has a level of its own."""
    time = np.arange(round(rate * seconds)) / rate
    chord = sum(0.1 * np.sin(2 * np.pi * f * time) for f in (220.0, 554.4, 1318.5) if f < rate / 2)
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(time))
    levels = np.linspace(1.0, 0.5, channels)
    return ((chord + noise)[:, None] * levels).astype(np.float32)


def encode(path: Path, sound: Array, codec: str, container: str, rate: int = RATE, **options: str) -> Path:
    """Write `(samples, channels)` with FFmpeg's encoders."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[sound.shape[1]]
    with av.open(str(path), "w", format=container, options=options) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, AudioStream)
        stream.bit_rate = 128_000
        _encode_into(out, stream, sound, rate, layout)
    return path


def _encode_into(out: OutputContainer, stream: AudioStream, sound: Array, rate: int, layout: str) -> None:
    context = stream.codec_context
    context.open(strict=False)
    resampler = av.AudioResampler(context.format, layout, rate, context.frame_size or 1024)
    for start in range(0, len(sound), rate):
        part = np.ascontiguousarray(sound[start : start + rate]).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(part, format="flt", layout=layout)
        frame.sample_rate = rate
        frame.pts = start
        for piece in resampler.resample(frame):
            out.mux(stream.encode(piece))
    for piece in resampler.resample(None):
        out.mux(stream.encode(piece))
    out.mux(stream.encode(None))


def samples(folder: Path) -> dict[str, Path]:
    """Three seconds of the same sound in every usual format, keyed by a suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    sound = music()
    made: dict[str, Path] = {}
    for suffix in ("wav", "flac", "ogg", "aiff"):
        made[suffix] = folder / f"good.{suffix}"
        soundfile.write(made[suffix], sound, RATE)
    encoded = (
        ("mp3", "libmp3lame", "mp3", RATE),
        ("opus", "libopus", "ogg", 48_000),
        ("m4a", "aac", "mp4", RATE),
        ("aac", "aac", "adts", RATE),
        ("alac.m4a", "alac", "mp4", RATE),
        ("wma", "wmav2", "asf", RATE),
        ("webm", "libopus", "webm", 48_000),
        ("mka", "flac", "matroska", RATE),
    )
    for suffix, codec, container, rate in encoded:
        made[suffix] = encode(folder / f"good.{suffix}", music(rate), codec, container, rate)
    made["fast.m4a"] = encode(folder / "good.fast.m4a", sound, "aac", "mp4", movflags="faststart")
    flags = "frag_keyframe+empty_moov"
    made["frag.mp4"] = encode(folder / "good.frag.mp4", sound, "aac", "mp4", movflags=flags, frag_duration="500000")
    return made


def wav_header(
    rate: int = RATE, channels: int = 1, bits: int = 16, align: int | None = None, tag: int = 1, size: int = 88_200
) -> bytes:
    """Return a 44-byte WAV header with any values in it."""
    align = channels * bits // 8 & 0xFFFF if align is None else align
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    return (
        b"RIFF"
        + struct.pack("<I", size + 36 & 0xFFFFFFFF)
        + b"WAVEfmt \x10\0\0\0"
        + fmt
        + b"data"
        + struct.pack("<I", size)
    )


class Maker:
    """Writes the files of all classes below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.good = samples(folder / "good")
        self.bytes = {suffix: path.read_bytes() for suffix, path in self.good.items()}
        self.rng = np.random.default_rng(1)

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def sound(self, name: str, array: Array, rate: int = RATE, **kind: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, array, rate, **kind)
        return path

    def encode(self, name: str, sound: Array, codec: str, container: str, rate: int = RATE, **options: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return encode(path, sound, codec, container, rate, **options)

    # -- A: nothing, or hardly anything, in it ------------------------------------------------------------------

    def a_empty(self) -> Iterator[Case]:
        for suffix, content in self.bytes.items():
            for size in (0, 1, 12, 44, 100):
                name = f"A1-{size}.{suffix}"
                reason = "empty file" if size == 0 else ""
                yield Case(name, self.write(name, content[:size]), "skipped", reason)
        for suffix, channels in (("wav", 1), ("wav", 2), ("flac", 2), ("aiff", 2)):
            name = f"A2-{channels}.{suffix}"
            reason = "empty file" if suffix == "flac" else "0 samples"  # libsndfile writes nothing at all
            yield Case(name, self.sound(name, np.zeros((0, channels), np.float32)), "skipped", reason)

    def a_short(self) -> Iterator[Case]:
        noise = music(16_000, 0.5, 1)
        for length in (1, 2, 79, 159):
            name = f"A3-{length}.wav"
            yield Case(name, self.sound(name, noise[:length], 16_000), "skipped", "shorter than one 10 ms frame")
        for length in (160, 161, 399, 400, 401, 3199, 3200):
            name = f"A4-{length}.wav"
            yield Case(name, self.sound(name, noise[:length], 16_000), "ok")

    # -- B: damaged ---------------------------------------------------------------------------------------------

    def b_truncated(self) -> Iterator[Case]:
        for suffix, content in self.bytes.items():
            lost_index = suffix in ("m4a", "alac.m4a")  # the moov atom stands at the end
            for share in (0.5, 0.99):
                name = f"B1-{share}.{suffix}"
                path = self.write(name, content[: int(len(content) * share)])
                if lost_index:
                    yield Case(name, path, "skipped")
                elif share == 0.5 or suffix in ("wav", "flac", "aiff", "ogg", "opus", "fast.m4a"):
                    yield Case(name, path, "warning", " decoded (stream damaged at ")
                else:
                    yield Case(name, path, "ok or warning")
            name = f"B1-last.{suffix}"
            yield Case(name, self.write(name, content[:-1]), "ok or warning")

    def b_flipped(self) -> Iterator[Case]:
        for suffix, content in self.bytes.items():
            flipped = bytearray(content)
            for start in range(4096, len(flipped), 4096):
                position = start + int(self.rng.integers(0, min(4096, len(flipped) - start)))
                flipped[position] ^= 1 << int(self.rng.integers(0, 8))
            path = self.write(f"B2-flip.{suffix}", bytes(flipped))
            checked = suffix in ("flac", "ogg", "opus", "m4a", "aac", "mka")  # by checksums or by their structure
            yield Case(f"B2-flip.{suffix}", path, "warning or skipped" if checked else "ok or warning")
            middle = len(content) // 2
            holed = content[:middle] + bytes(4096) + content[middle + 4096 :]
            path = self.write(f"B2-hole.{suffix}", holed)
            silent = suffix in ("wav", "aiff", "alac.m4a")  # zeros are valid sound there
            yield Case(f"B2-hole.{suffix}", path, "ok" if silent else "warning")

    def b_lies(self) -> Iterator[Case]:
        pcm = (music(channels=1)[:, 0] * 32_767).astype("<i2").tobytes()
        yield Case("B3-piped.wav", self.write("B3-piped.wav", wav_header(size=0xFFFFFFFF) + pcm), "ok")
        yield Case("B3-size-0.wav", self.write("B3-size-0.wav", wav_header(size=0) + pcm), "ok")
        yield Case(
            "B3-2GB.wav", self.write("B3-2GB.wav", wav_header(size=2_000_000_000) + pcm), "warning", "3.0 s of"
        )
        riff = bytearray(wav_header(size=len(pcm)) + pcm)
        riff[4:8] = b"\x01\x02\x03\x04"
        yield Case("B3-riff-size.wav", self.write("B3-riff-size.wav", bytes(riff)), "ok")
        flac = bytearray(self.bytes["flac"])
        flac[21] |= 0x0F  # the total of samples: 36 bits from the low half of byte 21 on
        flac[22:26] = b"\xff" * 4
        yield Case("B3-samples.flac", self.write("B3-samples.flac", bytes(flac)), "ok or warning")
        flac = bytearray(self.bytes["flac"])
        flac[26:42] = bytes(range(1, 17))
        yield Case("B3-md5.flac", self.write("B3-md5.flac", bytes(flac)), "ok")

    def b_impossible(self) -> Iterator[Case]:
        pcm = bytes(88_200)
        headers = {
            "rate-0": (wav_header(rate=0), "sample rate 0"),
            "rate-max": (wav_header(rate=0xFFFFFFFF), "sample rate"),
            "rate-1": (wav_header(rate=1), "sample rate 1 "),
            "channels-0": (wav_header(channels=0, align=2), "channels 0"),
            "channels-65535": (wav_header(channels=65_535), "65535 channels"),
            "tag": (wav_header(tag=0x4242), "0x4242"),
        }
        for name, (header, reason) in headers.items():
            yield Case(f"B4-{name}", self.write(f"B4-{name}.wav", header + pcm), "skipped", reason)
        for name, header in {"align-0": wav_header(align=0), "bits-0": wav_header(bits=0, align=2)}.items():
            yield Case(f"B4-{name}", self.write(f"B4-{name}.wav", header + pcm), "any")

    def b_junk(self) -> Iterator[Case]:
        junk = self.rng.bytes(3000)
        id3 = b"ID3\x04\0\0" + bytes([0, 0, 10, 0]) + bytes(1280)  # 10 * 128 bytes of padding
        yield Case("B5-junk.mp3", self.write("B5-junk.mp3", junk + self.bytes["mp3"]), "ok or warning")
        for suffix in ("flac", "wav", "aac", "mp3"):
            name = f"B5-id3.{suffix}"
            yield Case(name, self.write(name, id3 + self.bytes[suffix]), "ok")
        tails = {"id3v1": b"TAG" + bytes(125), "ape": b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)}
        for tag, tail in tails.items():
            for suffix in ("mp3", "flac", "wav", "aac"):
                name = f"B5-{tag}.{suffix}"
                yield Case(name, self.write(name, self.bytes[suffix] + tail), "ok or warning")
        wav = self.bytes["wav"]
        odd = wav[:36] + b"odd \x03\0\0\0abc\0" + wav[36:]
        yield Case("B5-odd-chunk.wav", self.write("B5-odd-chunk.wav", odd), "ok")
        yield Case("B5-second-data.wav", self.write("B5-second-data.wav", wav + b"data\x04\0\0\0abcd"), "ok")
        huge = b"ID3\x04\0\0" + bytes([0x7F, 0x7F, 0x7F, 0x7F])
        yield Case("B6-id3-256MB.mp3", self.write("B6-id3-256MB.mp3", huge + self.bytes["mp3"]), "any")
        size = 5_000_000
        synchsafe = bytes(size + 10 >> shift & 0x7F for shift in (21, 14, 7, 0))
        picture = b"APIC" + struct.pack(">I", size)[:4] + b"\0\0" + b"\0image/png\0\x03\0" + bytes(size - 13)
        big = b"ID3\x03\0\0" + synchsafe + picture
        yield Case("B6-picture.mp3", self.write("B6-picture.mp3", big + self.bytes["mp3"]), "ok or warning")

    def b_chained(self) -> Iterator[Case]:
        other = self.sound("parts/22k.ogg", music(22_050, 1.0, 1), 22_050)
        yield Case("B7-ogg", self.write("B7.ogg", self.bytes["ogg"] + other.read_bytes()), "ok or warning")
        yield Case("B7-same-ogg", self.write("B7-same.ogg", self.bytes["ogg"] * 2), "ok or warning")
        other = self.encode("parts/22k.mp3", music(22_050, 1.0, 1), "libmp3lame", "mp3", 22_050)
        yield Case("B7-mp3", self.write("B7.mp3", self.bytes["mp3"] + other.read_bytes()), "ok or warning")
        other = self.sound("parts/22k.flac", music(22_050, 1.0, 1), 22_050)
        yield Case("B7-flac", self.write("B7.flac", self.bytes["flac"] + other.read_bytes()), "ok or warning")

    # -- C: odd, but right --------------------------------------------------------------------------------------

    def c_subtypes(self) -> Iterator[Case]:
        kinds = [("WAV", s) for s in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")]
        kinds += [
            ("WAV", "IMA_ADPCM"),
            ("WAV", "MS_ADPCM"),
            ("WAVEX", "PCM_24"),
            ("RF64", "PCM_16"),
            ("W64", "PCM_16"),
        ]
        kinds += [("AIFF", "PCM_24"), ("AIFF", "FLOAT"), ("AU", "PCM_16"), ("CAF", "PCM_16"), ("CAF", "ALAC_16")]
        kinds += [("PAF", "PCM_16"), ("MAT5", "PCM_16"), ("NIST", "PCM_16"), ("VOC", "PCM_16"), ("IRCAM", "PCM_16")]
        kinds += [("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("AVR", "PCM_16")]
        for container, subtype in kinds:
            name = f"C1-{container.lower()}-{subtype.lower()}"
            path = self.sound(f"{name}.{container.lower()}", music(), RATE, format=container, subtype=subtype)
            yield Case(name, path, "ok")
        yield Case("C1-gsm", self.sound("C1-gsm.wav", music(8000, 3, 1), 8000, subtype="GSM610"), "ok or warning")
        path = self.sound("C1-htk.htk", music(channels=1), 16_000, format="HTK", subtype="PCM_16")
        yield Case("C1-htk", path, "ok")

    def c_rates_and_channels(self) -> Iterator[Case]:
        for rate in (1000, 8000, 11_025, 15_999, 16_000, 16_001, 37_800, 47_999, 96_000, 192_000, 384_000):
            yield Case(f"C2-{rate}", self.sound(f"C2-{rate}.wav", music(rate, 1.0), rate), "ok")
        for channels in (1, 2, 3, 6, 8, 16, 64, 255):
            for suffix in ("wav", "flac") if channels <= 8 else ("wav",):
                name = f"C3-{channels}.{suffix}"
                yield Case(name, self.sound(name, music(16_000, 1.0, channels), 16_000), "ok")
        left = music(channels=1)
        path = self.sound("C3-cancel.wav", np.hstack([left, -left]))
        yield Case("C3-cancel", path, "warning", "mono mix is silent")

    def c_containers(self) -> Iterator[Case]:
        for suffix, path in self.good.items():
            yield Case(f"C4-{suffix}", path, "ok")
        yield Case("C4-flac-in-ogg", self.encode("C4-flac.oga", music(), "flac", "ogg"), "ok")
        yield Case("C4-mpeg2.mp3", self.encode("C4-22k.mp3", music(22_050), "libmp3lame", "mp3", 22_050), "ok")
        yield Case("C4-mpeg25.mp3", self.encode("C4-8k.mp3", music(8000), "libmp3lame", "mp3", 8000), "ok")
        plain = self.encode("C4-no-tag.mp3", music(), "libmp3lame", "mp3", write_xing="0", id3v2_version="0")
        yield Case("C4-no-tag.mp3", plain, "ok")
        yield Case("C4-avi", self.encode("C4.avi", music(), "libmp3lame", "avi"), "ok")
        yield Case("C4-ts", self.encode("C4.ts", music(), "aac", "mpegts"), "ok")
        yield Case("C4-51.m4a", self.encode("C4-51.m4a", music(channels=6), "aac", "mp4"), "ok")
        yield Case("C5-picture", self.with_picture("C5-picture.mka"), "ok")
        yield Case("C5-no-sound", self.only_picture("C5-no-sound.mkv"), "skipped", "no audio in it")
        for suffix, name in (("wav", "C6-wav.mp3"), ("m4a", "C6-m4a.mp3"), ("flac", "C6-none"), ("mp3", "C6.WAV")):
            yield Case(name, self.write(name, self.bytes[suffix]), "ok")

    def with_picture(self, name: str) -> Path:
        path = self.folder / name
        with av.open(str(path), "w", format="matroska") as out:
            video = out.add_stream("mjpeg", rate=1)
            video.width = video.height = 64
            video.pix_fmt = "yuvj420p"
            audio = out.add_stream("flac", rate=RATE, layout="stereo")
            assert isinstance(audio, AudioStream)
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
            out.mux(video.encode(None))
            _encode_into(out, audio, music(), RATE, "stereo")
        return path

    def only_picture(self, name: str) -> Path:
        path = self.folder / name
        with av.open(str(path), "w", format="matroska") as out:
            video = out.add_stream("mjpeg", rate=1)
            video.width = video.height = 64
            video.pix_fmt = "yuvj420p"
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
            out.mux(video.encode(None))
        return path

    # -- D: odd samples -----------------------------------------------------------------------------------------

    def d_samples(self) -> Iterator[Case]:
        for name, value in (("nan", np.nan), ("inf", np.inf), ("minus-inf", -np.inf)):
            one = music()
            one[40_000, 1] = value
            yield Case(f"D1-{name}", self.sound(f"D1-{name}.wav", one, subtype="FLOAT"), "skipped", "non-finite")
        everywhere = np.full_like(music(), np.nan)
        yield Case("D1-all", self.sound("D1-all.wav", everywhere, subtype="FLOAT"), "skipped", "non-finite")
        sounds = {
            "silence": np.zeros_like(music()),
            "dc": np.full_like(music(), 0.5),
            "denormal": np.full_like(music(), 1e-40),
            "square": np.sign(music()),
            "1e3": music() * np.float32(1e4),
        }
        for name, array in sounds.items():
            yield Case(f"D2-{name}", self.sound(f"D2-{name}.wav", array, subtype="FLOAT"), "ok")
        for name, peak in (("1e30", 1e30), ("max", 3.4e38)):
            array = np.sign(music()) * np.float32(peak)
            path = self.sound(f"D2-{name}.wav", array, subtype="FLOAT")
            yield Case(f"D2-{name}", path, "warning", "clipped")

    # -- E: no audio at all -------------------------------------------------------------------------------------

    def e_not_audio(self) -> Iterator[Case]:
        lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1234\n"
        contents = {
            "text.wav": (b"This is not the song you are looking for.\n" * 50, "text"),
            "html.mp3": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n", "HTML"),
            "png.mp3": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + self.rng.bytes(3000), "PNG"),
            "jpeg.mp3": (b"\xff\xd8\xff\xe0\0\x10JFIF" + self.rng.bytes(3000), "JPEG"),
            "zip.flac": (b"PK\x03\x04\x14\0\0\0" + self.rng.bytes(3000), "zip"),
            "npy.wav": (b"\x93NUMPY\x01\0v\0{'descr': '<f4'}" + bytes(3000), "NumPy"),
            "json.ogg": (b'{"error": "not found"}', "text"),
            "lfs.mp3": (lfs, "Git LFS pointer"),
            "midi.wav": (b"MThd\0\0\0\x06\0\x01\0\x01\x01\xe0MTrk\0\0\0\x04\0\xff\x2f\0", "MIDI"),
            "gzip.wav": (b"\x1f\x8b\x08\0" + self.rng.bytes(3000), "gzip"),
            "zeros.wav": (bytes(10_000), "not audio"),
        }
        for name, (content, reason) in contents.items():
            yield Case(f"E1-{name}", self.write(f"E1-{name}", content), "skipped", reason)
        for suffix in ("wav", "mp3", "flac", "ogg", "m4a", "aac"):
            name = f"E1-random.{suffix}"
            yield Case(name, self.write(name, self.rng.bytes(50_000)), "skipped", "not audio")
        target = self.good["wav"]
        lists = {
            "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{target}\n#EXT-X-ENDLIST\n",
            "url": "#EXTM3U\nhttp://127.0.0.1:9/song.mp3\n",
            "concat": f"ffconcat version 1.0\nfile '{target}'\n",
        }
        for name, lines in lists.items():
            yield Case(f"E2-{name}", self.write(f"E2-{name}.mp3", lines.encode()), "skipped", "playlist")

    # -- F, G: names, files that are none, sizes ----------------------------------------------------------------

    def f_names(self) -> Iterator[Case]:
        wav = self.bytes["wav"]
        names = [
            "café.wav",
            "cafe\u0301.wav",
            "🎵.wav",
            "\u202egnp.wav",
            "new\nline.wav",
            "tab\t.wav",
            "quote'\".wav",
        ]
        names += [
            "a,b;c.wav",
            "-rf.wav",
            "$(touch x).wav",
            "%s%n.wav",
            "\x1b[31mred.wav",
            "=cmd().wav",
            "x" * 251 + ".wav",
        ]
        names += [os.fsdecode(b"latin\xe9.wav"), "concat:a|b.wav", "http:x.wav", "..wav", "a\\b.wav"]
        for number, name in enumerate(names):
            yield Case(f"F1-{number}", self.write(f"names/{name}", wav), "ok")

    def f_special(self) -> Iterator[Case]:
        folder = self.folder / "special"
        folder.mkdir()
        fifo = folder / "fifo.wav"
        os.mkfifo(fifo)
        yield Case("F4-fifo", fifo, "skipped", "not a regular file")
        for name, target, reason in (
            ("dangling", "nowhere.wav", ""),
            ("self", "self.wav", ""),
            ("zero", "/dev/zero", "not a regular file"),
        ):
            link = folder / f"{name}.wav"
            link.symlink_to(target)
            yield Case(f"F3-{name}", link, "skipped", reason)
        link = folder / "linked.wav"
        link.symlink_to(self.good["wav"])
        yield Case("F3-file", link, "ok")

    def g_sizes(self) -> Iterator[Case]:
        path = self.write("G2-sparse.wav", wav_header(size=0xFFFFFFFF))
        yield Case("G2-sparse-header", path, "skipped", "0 samples")

    def all(self) -> Iterator[Case]:
        groups: tuple[Callable[[], Iterator[Case]], ...] = (
            *(self.a_empty, self.a_short, self.b_truncated, self.b_flipped, self.b_lies, self.b_impossible),
            *(self.b_junk, self.b_chained, self.c_subtypes, self.c_rates_and_channels, self.c_containers),
            *(self.d_samples, self.e_not_audio, self.f_names, self.f_special, self.g_sizes),
        )
        for group in groups:
            yield from group()


def make_bad_files(folder: Path) -> list[Case]:
    """Write the files of all classes into `folder`."""
    return list(Maker(folder).all())
