"""Score frozen representations by linear probes on seven labelled sets: the table of the model card.

    python scripts/frozen_scores.py --data ../shared/data MODEL [MODEL ...] -o scores.json [--markdown scores.md]

MODEL is anything `musicpase.load_encoder` takes. Beside the models stand the same encoder before training (mean over
seeds), and statistics of 20 MFCCs: means and deviations, and those with the deviations of the changes from frame to
frame, the stronger baseline. All see the same clips, splits, probe and choices:

- The probe is logistic regression on standardised mean embeddings (`musicpase/pretrain/linear.py`), fitted on train
  and valid together. Its strength is chosen by five folds of these clips, which keep groups together; for
  OpenMIC-2018 one strength for its 20 instruments. Test clips choose nothing.
- The score is the macro-F1 on the test clips (OpenMIC: the mean over instruments). It has no seed: the fit is convex.
- Its interval (95 %) is a bootstrap over the test clips, 1,000 resamples; clips that are not independent (windows of
  one piece, takes of one recording) are drawn together. Differences from the baselines are resampled in pairs.
- The trials say how much it depends on which clips were trained on: the same probe on 10 bootstrap resamples of the
  clips that it was fitted on, drawn within each class; mean and standard deviation. A resample has 63 % of the
  different clips, so the mean lies below the score.

`--deviations` and `--one-level` add what other pooling, and clips of one loudness, would change.

Embeddings, statistics and predictions are kept under --cache by the content of weights and audio: a run that is
repeated, or extended by one more model, computes what is new.
"""

import argparse
import hashlib
import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from frozen_protocol import PROTOCOL, Predictions, predict_all, references, summaries
from frozen_sets import SETS, ScoreSet, describe, open_set
from numpy.typing import NDArray

from musicpase import __version__
from musicpase.atomic import atomic, write_atomic
from musicpase.baselines import mfcc_statistics, random_encoder
from musicpase.config import SAMPLE_RATE
from musicpase.errors import MusicpaseError
from musicpase.features import FeatureConfig
from musicpase.hub import UntrainedWeightsWarning
from musicpase.inference.devices import pick_device, pick_precision
from musicpase.inference.encoder import load_encoder
from musicpase.labelled import read_clips
from musicpase.pretrain.probe import embed_clips
from musicpase.weights import weights_bytes

CHUNK = 64  # clips decoded and embedded at a time
LEVEL = 0.1  # root mean square of clips at one level
MFCC_PLAIN, MFCC, UNTRAINED = "MFCC mean, deviation", "MFCC statistics", "untrained encoder"
MFCC_COLUMNS = 2 * FeatureConfig().n_mfcc  # without the deviations of the changes

Rows = NDArray[np.float32]
Embed = Callable[[Sequence[NDArray[np.float32]]], Rows]


@dataclass(frozen=True)
class Member:
    """What makes vectors, `(clips, dim)` from waveforms, and a name for its content."""

    identity: str
    embed: Embed


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    members: dict[str, list[Member]] = {
        MFCC_PLAIN: [
            Member(f"mfcc statistics {FeatureConfig()}", lambda clips: mfcc_statistics(clips)[:, :MFCC_COLUMNS])
        ],
        MFCC: [Member(f"mfcc statistics with changes {FeatureConfig()}", mfcc_statistics)],
        UNTRAINED: [untrained(seed, options.precision) for seed in options.seeds],
    }
    for name in options.models:
        members[name] = [trained(name, options.precision)]
        if options.deviations:
            members[f"{name}, mean, deviation"] = [trained(name, options.precision, deviations=True)]
    if options.one_level:
        encoders = [name for name in members if name not in (MFCC_PLAIN, MFCC)]
        members |= {f"{name}, one level": [at_one_level(member) for member in members[name]] for name in encoders}
    results = {
        "musicpase": __version__,
        "protocol": PROTOCOL,
        "precision": options.precision,
        "representations": {name: [member.identity for member in each] for name, each in members.items()},
        "sets": {name: score_set(open_set(name, options.data), members, options.cache) for name in options.sets},
    }
    write_atomic(options.output, (json.dumps(results, indent=1) + "\n").encode())
    if options.markdown:
        write_atomic(options.markdown, tables(results).encode())
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="none: the baselines alone")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds mini/ and labelled/")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="SCORES.json")
    parser.add_argument("--markdown", type=Path, metavar="TABLE.md", help="the results as tables, too")
    parser.add_argument("--cache", type=Path, default=Path(".frozen_cache"), metavar="FOLDER")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the untrained encoder")
    parser.add_argument("--sets", nargs="+", choices=tuple(SETS), default=tuple(SETS))
    parser.add_argument("--precision", default="auto", help="of the encoders: auto, fp32 or bf16")
    parser.add_argument(
        "--deviations", action="store_true", help="score each MODEL's means and deviations over time, too"
    )
    parser.add_argument(
        "--one-level", action="store_true", help="score every encoder on clips brought to one level, too"
    )
    options = parser.parse_args(arguments)
    options.precision = pick_precision(options.precision, pick_device("cpu"))
    return options


def untrained(seed: int, precision: str) -> Member:
    module = random_encoder(seed)
    sha256 = hashlib.sha256(weights_bytes(module.state_dict())).hexdigest()
    # in fp32 as training begins with it: not the embeddings of a saved copy, so a name of its own
    return Member(f"untrained {seed} {sha256} {precision}", lambda clips: embed_clips(module, clips, precision))


def trained(name: str, precision: str, *, deviations: bool = False) -> Member:
    """Means over time; or these and deviations, twice the width."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UntrainedWeightsWarning)
        encoder = load_encoder(name, device="cpu", precision=precision)

    def moments(clips: Sequence[NDArray[np.float32]]) -> Rows:
        frames = (encoder.frames(clip, SAMPLE_RATE).embedding for clip in clips)
        return np.stack([np.concatenate([rows.mean(0), rows.std(0)]) for rows in frames])

    identity = f"encoder {encoder.record.sha256} {precision}"
    if deviations:
        return Member(f"{identity} mean, deviation", moments)
    return Member(identity, lambda clips: encoder.embed(list(clips), SAMPLE_RATE))


def at_one_level(member: Member) -> Member:
    """The same of clips whose root mean square is `LEVEL`; peaks may exceed 1, silence stays silence."""

    def levelled(clip: NDArray[np.float32]) -> NDArray[np.float32]:
        size = math.sqrt(np.mean(np.square(clip, dtype=np.float64)))
        return clip * np.float32(LEVEL / max(size, 1e-9))

    identity = f"{member.identity} one level {LEVEL}"
    return Member(identity, lambda clips: member.embed([levelled(clip) for clip in clips]))


def score_set(one: ScoreSet, members: dict[str, list[Member]], cache: Path) -> dict[str, Any]:
    """All representations on one set."""
    audio = digest_of_audio(one)
    cache.mkdir(parents=True, exist_ok=True)
    found = {
        name: [predict_cached(one, m, cache / digest([audio, m.identity, __version__])) for m in each]
        for name, each in members.items()
    }
    return {
        **describe(one),
        **references(one),
        "representations": summaries(one, found, (MFCC, UNTRAINED)),
    }


def digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def digest_of_audio(one: ScoreSet) -> str:
    """Of the files' bytes and the excerpts, in their order."""
    files = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in {clip.path for clip in one.clips}}
    return digest([(files[clip.path], clip.start_s, clip.duration_s) for clip in one.clips])


def digest_of_protocol(one: ScoreSet) -> str:
    """Of labels, splits, groups, and what is done with them."""
    tasks = [[part.tolist() for part in (t.labels, t.train, t.valid, t.test)] for t in one.tasks]
    return digest([tasks, [clip.group for clip in one.clips], PROTOCOL])


def predict_cached(one: ScoreSet, member: Member, stem: Path) -> Predictions:
    path = stem.with_name(f"{stem.name}.{digest_of_protocol(one)}.json")
    if path.exists():
        loaded: Predictions = json.loads(path.read_text())
        return loaded
    found = predict_all(one, embed_cached(one, member, stem.with_name(f"{stem.name}.npy")))
    write_atomic(path, json.dumps(found).encode())
    return found


def embed_cached(one: ScoreSet, member: Member, path: Path) -> Rows:
    """`(clips, dim)`, computed once."""
    if path.exists():
        kept: Rows = np.load(path)
        return kept
    started, waveforms = time.monotonic(), read_clips(one.clips)
    parts, seconds = [], 0.0
    while chunk := list(islice(waveforms, CHUNK)):
        parts.append(member.embed(chunk))
        seconds += sum(map(len, chunk)) / SAMPLE_RATE
    rows: Rows = np.concatenate(parts)
    speed = seconds / (time.monotonic() - started)
    name = f"{member.identity[:24]} ... {member.identity[-16:]}"
    print(f"{one.name}: {len(rows)} clips, {seconds:.0f} s, {speed:.0f} x real time, {name}", flush=True)
    with atomic(path) as file:
        np.save(file, rows)
    return rows


def tables(results: dict[str, Any]) -> str:
    """Markdown: a table per kind of audio, a line per set, a column per representation."""
    trials = results["protocol"]["trials"]
    parts = []
    for synthetic, title in ((True, "Rendered benchmarks"), (False, "Real sets")):
        chosen = {name: one for name, one in results["sets"].items() if one["synthetic"] == synthetic}
        if chosen:
            lines = [f"{title}: macro-F1 on the test clips [95 % interval]; mean ± deviation of {trials} trials.\n"]
            lines.append(
                "| set | clips to fit / test | classes | chance | majority, accuracy | "
                + " | ".join(results["representations"])
                + " |"
            )
            lines.append("|---|---:|---:|---:|---:|" + "---:|" * len(results["representations"]))
            lines += [table_line(name, one) for name, one in chosen.items()]
            parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def table_line(name: str, one: dict[str, Any]) -> str:
    clips = one["clips"]
    cells = [
        name,
        f"{clips['train'] + clips['valid']} / {clips['test']}",
        str(one["classes"]) if one["tasks"] == 1 else f"{one['tasks']} × {one['classes']}",
        f"{one['chance_macro_f1']:.3f}",
        f"{one['majority_accuracy']:.3f}",
    ]
    for found in one["representations"].values():
        low, high = found["interval"]
        trials = found["trials"]
        cells.append(
            f"**{found['macro_f1']:.3f}** [{low:.3f}, {high:.3f}]; {trials['mean']:.3f} ± {trials['std']:.3f}"
        )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MusicpaseError as error:
        sys.exit(f"frozen_scores: {error}")
