"""How long a library takes: tracks go through fetching, decoding and encoding on nodes; used by `simulate_scale.py`.

Every resource is a line in which tracks are served in order: one link, as many decoders as cores, as many encoders as
devices. `simulate` follows each track from line to line; `bound` is what remains of that for millions of tracks.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Node", "Outcome", "Rates", "Track", "bound", "computed_seconds", "simulate"]

# Of `musicpase.inference.engine`:
GAP_S = 0.06  # between two files on a strip
ROOM_S = 0.3  # by which a strip for several is longer


@dataclass(frozen=True)
class Track:
    """One file: its length [s] and its size [bytes]."""

    duration_s: float
    size: int


@dataclass(frozen=True)
class Rates:
    """What one unit of each resource does.

    Attributes:
        decode: x real time of one core.
        decode_overhead_s: of one file, on its core: opening, probing, handing over.
        encode: x real time of one device.
        encode_overhead_s: of one file on the device's thread: handing over, pooling, journal.
        start_s: of a node, once: interpreter, weights, first use of the device.
        finish_s: of a run, once: index and matrix.
        strip_s: seconds of audio that a device computes at once, whether it has them or not; 0: any number.
    """

    decode: float
    decode_overhead_s: float
    encode: float
    encode_overhead_s: float
    start_s: float
    finish_s: float = 0.0
    strip_s: float = 0.0


@dataclass(frozen=True)
class Node:
    """A machine: cores that decode, devices that encode, a link to the files [bytes/s]."""

    decoders: int
    devices: int
    link: float = float("inf")


@dataclass(frozen=True)
class Outcome:
    """How long it took [s], and the share of that time in which each resource was busy."""

    seconds: float
    busy: Mapping[str, float]


def simulate(tracks: Sequence[Track], node: Node, rates: Rates) -> Outcome:
    """Follow the tracks through one node, in order; the next idle core or device takes the next track."""
    link = 0.0
    decoders, devices = [0.0] * node.decoders, [0.0] * node.devices
    work = dict.fromkeys(("link", "decoding", "encoding"), 0.0)
    end = 0.0
    for track, computed_s in zip(tracks, computed_seconds(tracks, rates.strip_s), strict=True):
        fetch = track.size / node.link
        link += fetch
        decode = track.duration_s / rates.decode + rates.decode_overhead_s
        decoded = max(link, heapq.heappop(decoders)) + decode
        heapq.heappush(decoders, decoded)
        encode = computed_s / rates.encode + rates.encode_overhead_s
        # A long track is encoded while it is decoded: the device can begin at once and is done after both are.
        encoded = max(max(decoded - decode, heapq.heappop(devices)) + encode, decoded)
        heapq.heappush(devices, encoded)
        end = max(end, encoded)
        for name, seconds in (("link", fetch), ("decoding", decode), ("encoding", encode)):
            work[name] += seconds
    units = {"link": 1, "decoding": node.decoders, "encoding": node.devices}
    busy = {name: work[name] / units[name] / end if end else 0.0 for name in work}
    return Outcome(rates.start_s + end + rates.finish_s, busy)


def computed_seconds(tracks: Sequence[Track], strip_s: float) -> list[float]:
    """Seconds of audio that a device computes when it takes each track: whole strips of it, and a strip of rests.

    What is left of a track waits until the rests of others fill a strip; see `musicpase.inference.batching`.
    """
    if not strip_s:
        return [track.duration_s for track in tracks]
    found, filled = [], 0.0
    for track in tracks:
        whole, rest = divmod(track.duration_s, strip_s)
        seconds = whole * strip_s
        if rest:
            if filled and filled + GAP_S + rest > strip_s + ROOM_S:
                seconds += strip_s + ROOM_S
                filled = 0.0
            filled += rest + (GAP_S if filled else 0.0)
        found.append(seconds)
    if filled:
        found[-1] += strip_s + ROOM_S
    return found


def bound(count: float, mean: Track, node: Node, rates: Rates, nodes: int = 1) -> tuple[str, float]:
    """The resource that binds with many tracks, and the seconds that they take.

    Args:
        count: of tracks.
        mean: their mean length and size.
        node: each machine.
        rates: of its resources.
        nodes: how many machines share the tracks evenly.
    """
    each = {
        "link": mean.size / node.link,
        "decoding": (mean.duration_s / rates.decode + rates.decode_overhead_s) / node.decoders,
        "encoding": (mean.duration_s / rates.encode + rates.encode_overhead_s) / node.devices,
    }
    binding = max(each, key=lambda name: each[name])
    return binding, rates.start_s + count / nodes * each[binding] + rates.finish_s
