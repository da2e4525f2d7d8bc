"""Which General MIDI programs play what, how high they go, and instruments made up from a random spectrum."""

import numpy as np

from .score import Part, Patch

__all__ = ["KITS", "POOLS", "draw_instrument", "draw_patch", "fit_range", "range_of"]

KITS = (0, 8, 16, 24, 25, 32, 40, 48)  # drum kits that all of the sound fonts have


def plain(*programs: int) -> tuple[tuple[int, int], ...]:
    """Programs of the standard bank as (bank, program)."""
    return tuple((0, program) for program in programs)


# (bank, program); banks other than 0 are variations, and the plain program where a sound font has none.
POOLS: dict[str, tuple[tuple[int, int], ...]] = {
    "folk": (
        *plain(0, 15, 21, 22, 23, 24, 25, 40, 41, 46, 71, 72, 73, 74, 75, 77, 78, 79, 105, 107, 109, 110, 111),
        *((8, 21), (8, 24), (8, 25), (16, 25)),
    ),
    "orchestra": plain(*range(40, 46), 46, 48, 49, *range(56, 62), *range(64, 74)),
    "voice": plain(52, 53, 54, 85),
    "keys": (*plain(*range(0, 15), *range(16, 21)), (8, 4), (8, 5), (8, 16), (8, 17), (8, 19)),
    "plucked": (*plain(15, *range(24, 32), 45, 46, *range(104, 109)), (8, 25), (8, 26), (8, 28), (16, 25)),
    "strummed": (*plain(24, 25, 26, 27, 105), (8, 24), (8, 25), (16, 25)),
    "band": plain(4, 5, 11, 16, 17, 18, 22, *range(24, 32), *range(56, 68), 80, 81),
    "synth": plain(38, 39, 50, 51, 54, 62, 63, *range(80, 104)),
    "pad": plain(16, 19, 20, *range(48, 55), *range(88, 96)),
    "bass": plain(*range(32, 40)),
    "low": plain(32, 33, 42, 43, 58, 67, 70),
    "drone": plain(20, 21, 43, 48, 104, 109),
    "any": plain(*range(115)),
}
# Comfortable range of the eight programs of each General MIDI family, as MIDI pitches...
FAMILY_RANGES = (
    (33, 98), (55, 98), (40, 90), (40, 84), (28, 52), (40, 90), (40, 84), (45, 78),
    (48, 82), (60, 94), (40, 92), (40, 84), (45, 84), (48, 84), (48, 84), (48, 84),
)  # fmt: skip
# ... and of programs that differ from their family.
RANGES = {
    40: (55, 96), 41: (48, 84), 42: (36, 72), 43: (28, 55), 47: (40, 57), 57: (40, 70), 58: (28, 58), 60: (40, 74),
    66: (44, 74), 67: (36, 67), 69: (52, 78), 70: (34, 70), 71: (50, 88), 110: (55, 96),
}  # fmt: skip


def range_of(part: Part) -> tuple[int, int]:
    """Lowest and highest pitch of a part's instrument."""
    return (36, 90) if part.patch else RANGES.get(part.program, FAMILY_RANGES[part.program // 8])


def fit_range(part: Part) -> Part:
    """Move the part by octaves so that the middle of its notes is nearest to the middle of its instrument."""
    if part.drums or not part.notes:
        return part
    low, high = range_of(part)
    pitches = [note.pitch for note in part.notes]
    shift = 12 * round(((low + high) / 2 - (min(pitches) + max(pitches)) / 2) / 12)
    if low <= min(pitches) and max(pitches) <= high:
        shift = 0
    part.notes = [note._replace(pitch=nearest(note.pitch + shift, low - 6, high + 6)) for note in part.notes]
    return part


def nearest(pitch: int, low: int, high: int) -> int:
    """The pitch itself inside the range, else the first of its class there."""
    if low <= pitch <= high:
        return pitch
    return low + (pitch - low) % 12 if pitch < low else high - (high - pitch) % 12


def draw_instrument(rng: np.random.Generator, pool: str, patches: float = 0.0) -> Part:
    """An empty part for an instrument of the pool, or with chance `patches` for a made-up one."""
    level = float(rng.uniform(0.6, 1.0))
    if rng.random() < patches:
        return Part([], level=level, patch=draw_patch(rng))
    bank, program = POOLS[pool][rng.integers(len(POOLS[pool]))]
    return Part([], program, bank, level=level)


def draw_patch(rng: np.random.Generator) -> Patch:
    """An instrument nobody has heard: from sine to buzz, struck, plucked, blown or swelling."""
    orders = np.arange(1, 33)
    bright = orders ** -rng.uniform(0.4, 2.5) * rng.uniform(0.1, 1.0, 32)
    if rng.random() < 0.4:
        bright[1::2] *= rng.uniform(0, 0.3)  # odd harmonics only: square, clarinet
    if rng.random() < 0.3:
        bright *= 1 + 3 * np.exp(-(((orders - rng.uniform(3, 15)) / 3) ** 2))  # a formant
    dark = bright * np.exp(-orders / rng.uniform(1, 20))
    struck = rng.random() < 0.5
    return Patch(
        bright=tuple((bright / np.linalg.norm(bright)).tolist()),
        dark=tuple((dark / np.linalg.norm(bright)).tolist()),
        darken=float(np.exp(rng.uniform(np.log(0.5), np.log(15)))),
        attack=0.003 if struck else float(np.exp(rng.uniform(np.log(0.005), np.log(0.6)))),
        decay=float(np.exp(rng.uniform(np.log(0.05), np.log(2.0)))),
        sustain=float(rng.uniform(0, 0.3) if struck else rng.uniform(0.4, 1)),
        release=float(np.exp(rng.uniform(np.log(0.03), np.log(0.8)))),
        detune=float(rng.choice([0, 0, rng.uniform(3, 25)])),
        vibrato=float(rng.choice([0, 0, rng.uniform(3, 30)])),
    )
