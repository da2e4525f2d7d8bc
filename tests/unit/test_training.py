"""The training loop: what it feeds the encoder, how it steps, what it keeps, and when it stops."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import musicpase
from musicpase.errors import ConfigError
from musicpase.pretrain import monitor, state
from musicpase.pretrain import team as team_module
from musicpase.pretrain.checkpoint import Position
from musicpase.pretrain.corpus import Corpus
from musicpase.pretrain.crops import Crops
from musicpase.pretrain.ground import STATISTICS, TRAIN, VALID, prepare
from musicpase.pretrain.model import Pretraining
from musicpase.pretrain.recipe import Recipe
from musicpase.pretrain.state import Phase, begin_phase, plan
from musicpase.pretrain.team import Team, assemble
from musicpase.pretrain.weighting import UncertaintyWeights
from musicpase.workers import Targets
from tests.small_runs import ALONE, flat, narrow, rows, small_recipe, state_of, train_into, write_corpus, write_labels

ALL_OF_IT = {"transpose": 1.0, "gain": 1.0, "mix": 1.0, "filter": 1.0, "reverberation": 1.0, "level": 1.0}
STEPS = 3  # per epoch of the small recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("training") / "corpus")


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch)


class Heard:
    """What the encoder heard and what the workers were to predict, in training and in validation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.train: list[tuple[Tensor, Tensor]] = []
        self.valid: list[tuple[Tensor, Tensor]] = []
        forward = Pretraining.forward

        def spy(module: Pretraining, waveform: Tensor, targets: Mapping[str, Tensor]) -> Any:
            to = self.train if module.training else self.valid
            to.append((waveform.clone(), targets["waveform"][:, 0].clone()))
            return forward(module, waveform, targets)

        monkeypatch.setattr(Pretraining, "forward", spy)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    return Heard(monkeypatch)


def with_waveform(**changes: Mapping[str, Any]) -> Recipe:
    return small_recipe(**{**changes, "model": {"workers": "WM"}})


def test_crops_are_those_of_phase_and_epoch(tmp_path: Path, corpus: Corpus, heard: Heard) -> None:
    weighting = {"mode": "reweighted", "equal_epochs": 2}
    train_into(tmp_path / "run", with_waveform(weighting=weighting, training={"seed": 5}), corpus)
    crops = Crops(corpus, corpus.split("train"), 4000)
    expected = [crops.read(crops.draw(12, 5, TRAIN, phase, epoch)) for phase in (0, 1) for epoch in (0, 1)]
    assert torch.equal(torch.cat([waveform for waveform, _ in heard.train]), torch.cat(expected))
    assert len({flat(part)[""] for part in expected}) == 4
    for waveform, target in heard.train:
        assert torch.equal(waveform, target)


def test_validation_hears_the_same_clean_crops_of_other_tracks(tmp_path: Path, corpus: Corpus, heard: Heard) -> None:
    recipe = with_waveform(augmentation=ALL_OF_IT, data={"valid_crops": 7}, training={"batch_size": 2})
    train_into(tmp_path / "run", recipe, corpus)
    assert len(heard.valid) == 2 * 2  # 5 crops fit into the tracks: two whole batches
    crops = Crops(corpus, corpus.split("valid"), 4000)
    expected = crops.read(crops.draw(4, 0, VALID))
    assert (expected < 0).all()  # as in all tracks that validate
    for i in (0, 2):
        for part in (0, 1):  # what is heard, what is to be predicted
            assert torch.equal(torch.cat([batch[part] for batch in heard.valid[i : i + 2]]), expected)
    assert len(heard.train) == 2 * 6


def test_the_encoder_hears_distorted_crops_and_predicts_undistorted_ones(
    tmp_path: Path, corpus: Corpus, heard: Heard
) -> None:
    train_into(tmp_path / "plain", with_waveform(), corpus)
    plain = [target for _, target in heard.train]
    heard.train.clear()
    distortion = {"mix": 1.0, "filter": 1.0, "reverberation": 1.0, "level": 1.0}
    train_into(tmp_path / "distorted", with_waveform(augmentation=distortion), corpus)
    for (waveform, target), clean in zip(heard.train, plain, strict=True):
        assert torch.equal(target, clean)
        assert ((waveform - target).square().mean(1) > 1e-4 * target.square().mean(1)).all()
    heard.train.clear()
    train_into(tmp_path / "varied", with_waveform(augmentation={"transpose": 1.0, "gain": 1.0}), corpus)
    for (waveform, target), clean in zip(heard.train, plain, strict=True):
        assert torch.equal(waveform, target)
        assert ((target - clean).square().mean(1) > 1e-4 * clean.square().mean(1)).all()


def test_every_step_is_augmented_anew_and_every_run_alike(tmp_path: Path, corpus: Corpus, heard: Heard) -> None:
    recipe = with_waveform(augmentation={"gain": 1.0}, weighting={"mode": "reweighted", "equal_epochs": 1})
    runs = []
    for name in ("first", "second"):
        heard.train.clear()
        train_into(tmp_path / name, recipe, corpus)
        runs.append([waveform for waveform, _ in heard.train])
    assert all(torch.equal(*pair) for pair in zip(*runs, strict=True))
    crops = Crops(corpus, corpus.split("train"), 4000)
    clean = torch.cat([crops.read(crops.draw(12, 0, TRAIN, *place)) for place in ((0, 0), (1, 0), (1, 1))])
    gains = torch.cat(runs[0]).norm(dim=1) / clean.norm(dim=1)
    assert len({tuple(round(gain, 4) for gain in batch.tolist()) for batch in gains.split(4)}) == 3 * STEPS


def test_statistics_are_those_of_training_crops(tmp_path: Path, corpus: Corpus) -> None:
    folder = train_into(tmp_path / "run", with_waveform(data={"statistics_crops": 100}), corpus)
    state = state_of(folder)["model"]
    mean, std = (float(state[f"workers.standardizers.waveform.{name}"]) for name in ("mean", "std"))
    assert mean == pytest.approx(0.3, abs=0.02)  # the tracks that validate have -0.3
    assert std == pytest.approx(math.sqrt(0.2**2 / 2 + 0.05**2 / 3), abs=0.02)
    crops = Crops(corpus, corpus.split("train"), 4000)
    drawn = crops.read(crops.draw(100, 0, STATISTICS)).double()
    assert (mean, std) == pytest.approx((float(drawn.mean()), float(drawn.std())), rel=1e-5)
    raw = state_of(train_into(tmp_path / "raw", with_waveform(training={"standardize": False}), corpus))["model"]
    assert float(raw["workers.standardizers.waveform.mean"]) == 0.0
    assert float(raw["workers.standardizers.waveform.std"]) == 1.0


class Steps:
    """The optimiser's steps: rate, decay and norm of the gradient."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rates: list[float] = []
        self.decays: set[float] = set()
        self.norms: list[float] = []
        step = torch.optim.AdamW.step

        def spy(optimizer: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
            (group,) = optimizer.param_groups
            self.rates.append(group["lr"])
            self.decays.add(group["weight_decay"])
            norms = [parameter.grad.norm() for parameter in group["params"]]
            self.norms.append(float(torch.stack(norms).norm()))
            return step(optimizer, *args, **kwargs)

        monkeypatch.setattr(torch.optim.AdamW, "step", spy)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def cloned(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def test_the_rate_follows_the_schedule_over_the_whole_phase(tmp_path: Path, corpus: Corpus, steps: Steps) -> None:
    training = {"learning_rate": 0.004, "warmup_steps": 2, "schedule": "cosine", "weight_decay": 0.02}
    weighting = {"mode": "reweighted", "equal_epochs": 2}
    train_into(tmp_path / "run", small_recipe(training={**training, "epochs": 3}, weighting=weighting), corpus)

    def phase(count: int) -> list[float]:
        fall = [0.002 * (1 + math.cos(math.pi * step / (count - 2))) for step in range(count - 2)]
        return [0.002, 0.004, *fall]

    assert steps.rates == pytest.approx([*phase(2 * STEPS), *phase(3 * STEPS)])
    assert steps.decays == {0.02}


def test_a_step_follows_the_gradient_of_its_own_batch(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: list[tuple[Tensor, ...]] = []
    forward, step = Pretraining.forward, torch.optim.AdamW.step

    def spy(module: Pretraining, waveform: Tensor, targets: Mapping[str, Tensor]) -> Any:
        total, losses = forward(module, waveform, targets)
        if module.training:
            own.append(torch.autograd.grad(total, list(module.parameters()), retain_graph=True))
        return total, losses

    def spy_on_step(optimizer: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        for parameter, gradient in zip(optimizer.param_groups[0]["params"], own[-1], strict=True):
            assert torch.equal(parameter.grad, gradient)
        return step(optimizer, *args, **kwargs)

    monkeypatch.setattr(Pretraining, "forward", spy)
    monkeypatch.setattr(torch.optim.AdamW, "step", spy_on_step)
    train_into(tmp_path / "run", small_recipe(weighting={"mode": "uncertainty"}), corpus)
    assert len(own) == 2 * STEPS


def test_gradients_are_cut_to_the_norm(tmp_path: Path, corpus: Corpus, steps: Steps) -> None:
    train_into(tmp_path / "free", small_recipe(), corpus)
    free = steps.norms[0]
    assert min(steps.norms) > 0.02
    steps.norms.clear()
    train_into(tmp_path / "cut", small_recipe(training={"clip_norm": 0.01}), corpus)
    assert steps.norms == pytest.approx([0.01] * 2 * STEPS, rel=1e-3)
    steps.norms.clear()
    train_into(tmp_path / "loose", small_recipe(training={"clip_norm": 1e6}), corpus)
    assert steps.norms[0] == pytest.approx(free, rel=1e-6)  # smaller ones are left as they are


@pytest.mark.parametrize("clip_norm", [0.0, 0.01])
def test_the_loss_scale_is_undone_before_anything_sees_the_gradient(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, clip_norm: float
) -> None:
    """Of fp16, which only a GPU trains in; a scale of a power of two is exact in fp32."""
    recipe = small_recipe(training={"epochs": 1, "clip_norm": clip_norm})
    plain = state_of(train_into(tmp_path / "plain", recipe, corpus))
    scaler = torch.amp.GradScaler("cpu", 1024.0)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: scaler)
    scaled = state_of(train_into(tmp_path / "scaled", recipe, corpus))
    assert scaled["scaler"]["scale"] == 1024.0
    for name in ("model", "optimizer"):
        assert flat(scaled[name]) == flat(plain[name])


class Passes:
    """The model's state before each pass, in training and in validation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.train: list[dict[str, Tensor]] = []
        self.valid: list[dict[str, Tensor]] = []
        forward = Pretraining.forward

        def spy(module: Pretraining, waveform: Tensor, targets: Mapping[str, Tensor]) -> Any:
            assert len({part.training for part in module.modules()}) == 1
            assert torch.is_grad_enabled() == module.training
            (self.train if module.training else self.valid).append(cloned(module))
            return forward(module, waveform, targets)

        monkeypatch.setattr(Pretraining, "forward", spy)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    return Passes(monkeypatch)


def test_averaged_weights_are_the_recursion_and_what_is_saved(tmp_path: Path, corpus: Corpus, passes: Passes) -> None:
    folder = train_into(tmp_path / "run", small_recipe(training={"ema": 0.7, "epochs": 1}), corpus)
    saved = state_of(folder)
    expected, *after = [*passes.train, saved["model"]]
    assert len(after) == STEPS
    for weights in after:
        for name, value in weights.items():
            expected[name] = 0.7 * expected[name] + 0.3 * value if value.is_floating_point() else value
    for name, value in expected.items():
        assert torch.allclose(saved["average"][name].double(), value.double(), rtol=1e-5, atol=1e-7), name
        assert torch.equal(passes.valid[0][name], saved["average"][name])
    assert_saved(folder, saved["average"])


def assert_saved(folder: Path, state: Mapping[str, Tensor]) -> None:
    """The model folder has these weights."""
    for name, value in load_file(folder / "model" / "model.safetensors").items():
        assert torch.equal(value, state[f"encoder.{name}"].to(value.dtype)), name
    for name, value in load_file(folder / "model" / "workers.safetensors").items():
        assert torch.equal(value, state[f"workers.{name}"]), name


def test_averaged_weights_are_what_is_probed(tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[dict[str, Tensor]] = []

    def spy(module: torch.nn.Module, waveforms: Sequence[Any]) -> np.ndarray:
        probed.append(cloned(module))
        return np.zeros((len(waveforms), 8), np.float32)

    monkeypatch.setattr(monitor, "embed_clips", spy)
    recipe = small_recipe(training={"ema": 0.7, "epochs": 1}, probe={"labels": str(write_labels(tmp_path / "tones"))})
    saved = state_of(train_into(tmp_path / "run", recipe, corpus))
    assert len(probed) == 2  # the first is a baseline
    for name, value in probed[1].items():
        assert torch.equal(value, saved["average"][f"encoder.{name}"]), name


def test_validation_leaves_the_model_alone(tmp_path: Path, corpus: Corpus, passes: Passes) -> None:
    """It has no gradient and counts for no norm; more of it changes nothing but its own losses."""
    recipes = [small_recipe(data={"valid_crops": count}, training={"batch_size": 2}) for count in (2, 4)]
    few, more = (state_of(train_into(tmp_path / str(n), recipe, corpus)) for n, recipe in enumerate(recipes))
    assert (len(passes.valid), len(passes.train)) == (2 * 1 + 2 * 2, 2 * 2 * 6)
    assert few["position"]["validations"] != more["position"]["validations"]
    for name in ("model", "optimizer"):
        assert flat(few[name]) == flat(more[name])
    for before, after in zip(passes.valid[2::2], passes.valid[3::2], strict=True):
        assert flat(before) == flat(after)


def test_logged_losses_are_means(tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    losses_of = Pretraining.losses

    def spy(module: Pretraining, embedding: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        losses = losses_of(module, embedding, targets)
        seen[module.training].append({name: float(loss.detach()) for name, loss in losses.items()})
        return losses

    monkeypatch.setattr(Pretraining, "losses", spy)
    recipe = small_recipe(training={"batch_size": 2, "epochs": 1}, model={"workers": "WLM"})
    folder = train_into(tmp_path / "run", recipe, corpus)
    train, valid = rows(folder / "log.csv")
    assert (len(seen[True]), len(seen[False])) == (6, 2)
    for row, parts in ((train, seen[True]), (valid, seen[False])):
        for name in parts[0]:
            assert float(row[name]) == pytest.approx(sum(part[name] for part in parts) / len(parts), rel=1e-6)
    assert (train["step"], train["epoch"], train["split"], valid["split"]) == ("6", "1", "train", "valid")


LOSSES = Pretraining.losses


class Script:
    """Validation losses from a list instead of from the crops, one batch each; the weights that were validated."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, values: Sequence[float | Mapping[str, float]], *, settled: bool = False
    ) -> None:
        """Of all workers, or by worker's name; settled: uncertainties are where the losses would bring them."""
        self.weights: list[dict[str, Tensor]] = []
        remaining = iter(values)

        def losses(module: Pretraining, embedding: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
            found = LOSSES(module, embedding, targets)
            if module.training:
                return found
            value = next(remaining)
            given = value if isinstance(value, Mapping) else dict.fromkeys(found, value)
            if settled:
                assert isinstance(module.weighting, UncertaintyWeights)
                for name, scale in module.weighting.log_scale.items():
                    scale.fill_(math.log(given[name]))
            self.weights.append(cloned(module))
            return {name: torch.full_like(loss, given[name]) for name, loss in found.items()}

        monkeypatch.setattr(Pretraining, "losses", losses)

    def assert_saved(self, folder: Path, number: int) -> None:
        assert_saved(folder, self.weights[number])


def test_the_best_epoch_is_saved_and_patience_ends_a_phase(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(monkeypatch, [3.0, 2.0, 2.0, 2.5, 1.0, 0.5])
    recipe = small_recipe(training={"epochs": 6, "patience": 2})
    folder = train_into(tmp_path / "patient", recipe, corpus)
    assert len(script.weights) == 4  # equal to the best is not better
    script.assert_saved(folder, 1)
    train_into(folder, recipe, corpus)
    assert len(script.weights) == 4  # it has ended, also for a run that continues

    script = Script(monkeypatch, [3.0, 2.0, 2.5, 1.0, 1.5])
    folder = train_into(tmp_path / "whole", small_recipe(training={"epochs": 5}), corpus)
    assert len(rows(folder / "log.csv")) == 10
    script.assert_saved(folder, 3)


def test_each_phase_has_its_own_best(tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, [0.1, 0.2, 5.0, 4.0, 4.5])
    recipe = small_recipe(training={"epochs": 3, "patience": 1}, weighting={"mode": "reweighted", "equal_epochs": 5})
    folder = train_into(tmp_path / "run", recipe, corpus)
    assert [row["phase"] for row in rows(folder / "log.csv")] == ["equal"] * 4 + ["reweighted"] * 6
    script.assert_saved(folder, 3)


def test_the_best_epoch_is_that_of_the_weighted_losses(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = [{"lps": 10.0, "mfcc": 0.1}, {"lps": 10.0, "mfcc": 0.1}, {"lps": 5.0, "mfcc": 0.3}]
    script = Script(monkeypatch, losses)  # the weights become 0.1 and 10: weighted 2 and 3.5, their sums 10.1 and 5.3
    folder = train_into(tmp_path / "run", small_recipe(weighting={"mode": "reweighted", "equal_epochs": 1}), corpus)
    script.assert_saved(folder, 1)


def test_uncertainty_keeps_the_epoch_of_the_highest_likelihood(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As losses fall their weights grow: in the weighted sum alone the later epochs look no better."""
    script = Script(monkeypatch, [4.0, 2.0, 1.0, 3.0], settled=True)
    recipe = small_recipe(training={"epochs": 4}, weighting={"mode": "uncertainty"})
    folder = train_into(tmp_path / "run", recipe, corpus)
    script.assert_saved(folder, 2)


def test_the_saved_model_loads(tmp_path: Path, corpus: Corpus) -> None:
    folder = train_into(tmp_path / "run", small_recipe(training={"epochs": 1}), corpus)
    encoder = musicpase.load_encoder(str(folder / "model"), device="cpu", precision="fp32")
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    row = encoder.embed(waveform, 16_000)
    assert row.shape == (8,)
    state = state_of(folder)["model"]
    module = musicpase.load_encoder(str(folder / "model"), trainable=True).eval()
    module.load_state_dict({n.removeprefix("encoder."): v for n, v in state.items() if n.startswith("encoder.")})
    with torch.no_grad():
        exact = module(torch.from_numpy(waveform)[None])[0].mean(1).numpy()
    assert np.linalg.norm(row - exact) < 0.01 * np.linalg.norm(exact)  # it was saved in fp16


@pytest.mark.parametrize("encoder", ["pase", "paseplus"])
@pytest.mark.parametrize("workers", ["W", "L", "M", "C", "T", "WLPMCT"])
@pytest.mark.parametrize("mode", ["equal", "uncertainty"])
def test_no_parameter_goes_without_a_gradient(
    corpus: Corpus, tmp_path: Path, encoder: str, workers: str, mode: str
) -> None:
    """DistributedDataParallel waits for all of them."""
    recipe = small_recipe(model={"encoder": encoder, "workers": workers}, weighting={"mode": mode})
    recipe = replace(recipe, training=replace(recipe.training, standardize=False))
    ground = prepare(recipe, corpus, tmp_path, ALONE)
    phase = begin_phase(ground, plan(recipe)[0], Position())
    waveform = ground.train_crops.read(ground.train_crops.draw(2, 0))
    total, _ = phase.wrapped(waveform, ground.targets(waveform))
    torch.autograd.backward(total)
    missing = [name for name, parameter in phase.model.named_parameters() if parameter.grad is None]
    assert missing == []
    assert len(list(phase.model.parameters())) == sum(len(g["params"]) for g in phase.optimizer.param_groups)


def test_an_infinite_target_names_step_worker_and_crop(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_into(tmp_path / "run", small_recipe(training={"epochs": 1}), corpus)
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    forward, calls = Targets.forward, iter(range(100))

    def spoiled(module: Targets, waveform: Tensor, **options: Any) -> dict[str, Tensor]:
        targets = forward(module, waveform, **options)
        if next(calls) == 2:  # the first measures the statistics
            targets["mfcc"][2, 5, 7] = math.inf
        return targets

    monkeypatch.setattr(Targets, "forward", spoiled)
    crops = Crops(corpus, corpus.split("train"), 4000)
    crop = crops.draw(12, 0, TRAIN, 0, 1)[4 + 2]
    with pytest.raises(ConfigError) as caught:
        train_into(tmp_path / "run", small_recipe(), corpus)
    message = str(caught.value)
    assert message.startswith(f"the loss of worker 'mfcc' is inf at step 4 of phase 'equal' ({crops.describe(crop)})")
    for said in ("training.learning_rate", "training.clip_norm", f"the last good state is in {tmp_path / 'run'}"):
        assert said in message
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before


def test_a_loss_that_no_single_crop_explains(tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "equal_weights", lambda workers: {worker.name: 3e38 for worker in workers})
    with pytest.raises(ConfigError, match=r"^the weighted loss is not finite at step 0 of phase 'equal': lower"):
        train_into(tmp_path / "weighted", small_recipe(model={"workers": "LMC"}), corpus)
    monkeypatch.undo()
    narrow(monkeypatch)
    whole = Pretraining.losses

    def together(module: Pretraining, embedding: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: loss * (math.inf if len(embedding) > 1 else 1.0)
            for name, loss in whole(module, embedding, targets).items()
        }

    monkeypatch.setattr(Pretraining, "losses", together)
    with pytest.raises(
        ConfigError, match=r"^the loss of worker 'lps' is not finite at step 0 of phase 'equal': lower"
    ):
        train_into(tmp_path / "together", small_recipe(), corpus)


@pytest.mark.parametrize("last", [1, 2])
def test_weights_that_are_not_finite_are_never_saved(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    """An infinite gradient of a finite loss, at a step with a checkpoint behind it and at the last of the epoch."""
    step, calls = torch.optim.AdamW.step, iter(range(100))

    def spoiled(optimizer: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        if next(calls) == last:
            optimizer.param_groups[0]["params"][3].grad[0] = math.inf
        return step(optimizer, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spoiled)
    recipe = small_recipe(training={"checkpoint_steps": 1})
    with pytest.raises(ConfigError, match=f"is not finite at step {last + 1} of phase 'equal': lower"):
        train_into(tmp_path / "run", recipe, corpus)
    state = state_of(tmp_path / "run")
    assert state["position"]["batch"] == last
    assert all(value.isfinite().all() for value in state["model"].values())
    assert not (tmp_path / "run" / "log.csv").exists()
    assert not (tmp_path / "run" / "model").exists()


def test_a_validation_loss_that_is_not_finite_is_an_error(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    Script(monkeypatch, [1.0, math.nan])
    with pytest.raises(ConfigError, match="the validation loss of worker 'lps' is nan at step 6 of phase 'equal'"):
        train_into(tmp_path / "run", small_recipe(), corpus)
    assert len(rows(tmp_path / "run" / "log.csv")) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"training": {"batch_size": 13}}, "an epoch has fewer crops than a batch of 13"),
        ({"data": {"crops_per_epoch": 0}, "training": {"batch_size": 10}}, "fewer crops than a batch of 10"),
        ({"data": {"crop_seconds": 0.9}}, r"no track of 0.9 s in one of its splits"),
        ({"training": {"precision": "fp16"}}, "'fp16', which needs a GPU"),
    ],
)
def test_corpus_and_recipe_that_do_not_fit(
    tmp_path: Path, corpus: Corpus, changes: Mapping[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        train_into(tmp_path / "run", small_recipe(**changes), corpus)


def test_an_epoch_is_what_fits_into_the_tracks(tmp_path: Path, corpus: Corpus) -> None:
    recipe = small_recipe(data={"crops_per_epoch": 0}, training={"batch_size": 4, "epochs": 1})
    folder = train_into(tmp_path / "run", recipe, corpus)
    assert {row["step"] for row in rows(folder / "log.csv")} == {"2"}  # 6 + 2 + 1 crops of 0.25 s


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_loss_falls(tmp_path: Path, corpus: Corpus, precision: str) -> None:
    training = {"epochs": 4, "learning_rate": 0.02, "precision": precision}
    folder = train_into(tmp_path / "run", small_recipe(training=training, data={"crops_per_epoch": 20}), corpus)
    losses = [float(row["total"]) for row in rows(folder / "log.csv") if row["split"] == "train"]
    assert losses[-1] < 0.9 * losses[0]


def test_shares_of_a_batch_are_disjoint_and_complete() -> None:
    batch = np.arange(12)
    for size in (1, 2, 3, 4):
        parts = [batch[Team(rank, size, ALONE.device).share(12)] for rank in range(size)]
        assert np.concatenate(parts).tolist() == batch.tolist()
        assert {len(part) for part in parts} == {12 // size}


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_batch_norms_count_over_all_gpus(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Gloo cannot join them on CPUs. What averages the gradients is tested by two processes, in `tests/e2e`."""
    model = begin_phase(prepare(small_recipe(), corpus, tmp_path, ALONE), Phase("equal", 1), Position()).model
    norms = sum(isinstance(part, torch.nn.BatchNorm1d) for part in model.modules())
    monkeypatch.setattr(team_module, "DistributedDataParallel", lambda module: module)
    wrapped = Team(1, 2, torch.device(kind)).wrap(model)
    joined = sum(isinstance(part, torch.nn.SyncBatchNorm) for part in model.modules())
    assert wrapped is model
    assert norms == 8 + 1
    assert joined == (norms if kind == "cuda" else 0)


class Member(Team):
    """One process of two that never hears of the other."""

    def wrap(self, module: torch.nn.Module) -> torch.nn.Module:
        return module

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        return {name: float(value.detach()) for name, value in values.items()}

    def wait(self) -> None:
        pass

    def align(self, module: torch.nn.Module) -> None:
        pass


def test_each_process_trains_on_its_own_crops_and_augments_them_its_own_way(
    tmp_path: Path, corpus: Corpus, heard: Heard
) -> None:
    recipe = with_waveform(training={"epochs": 1}, data={"valid_crops": 4})
    alone, first, second = (
        [torch.cat([waveform for waveform, _ in part]) for part in (heard.train, heard.valid)]
        for team in (ALONE, Member(0, 2, ALONE.device), Member(1, 2, ALONE.device))
        if train_alone(tmp_path / f"{team.rank}{team.size}", recipe, corpus, team, heard)
    )
    for whole, *halves in zip(alone, first, second, strict=True):
        parts = [half.view(-1, 2, 4000) for half in halves]
        assert torch.equal(torch.cat(parts, dim=1).flatten(0, 1), whole)
    louder = with_waveform(training={"epochs": 1}, augmentation={"gain": 1.0})
    gains = []
    for team in (Member(0, 2, ALONE.device), Member(1, 2, ALONE.device)):
        train_alone(tmp_path / f"louder{team.rank}", louder, corpus, team, heard)
        clean = (first, second)[team.rank][0]
        gains.append(torch.cat([waveform for waveform, _ in heard.train]).norm(dim=1) / clean.norm(dim=1))
    assert not torch.isclose(gains[0], gains[1], rtol=1e-3).any()


def train_alone(folder: Path, recipe: Recipe, corpus: Corpus, team: Team, heard: Heard) -> Path:
    heard.train.clear()
    heard.valid.clear()
    return train_into(folder, recipe, corpus, team)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    def call(**values: int) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    yield call


def test_a_process_alone_is_a_team(environment: Callable[..., None]) -> None:
    with assemble("cpu", 7) as team:
        assert (team.rank, team.size, team.leads, team.device.type) == (0, 1, True, "cpu")
        module = torch.nn.Linear(2, 2)
        assert team.wrap(module) is module
        assert team.mean({"a": torch.tensor(0.5)}) == {"a": 0.5}
        team.align(module)
        team.wait()


def test_a_batch_that_cannot_be_shared(environment: Callable[..., None]) -> None:
    environment(WORLD_SIZE=3, RANK=0)
    with pytest.raises(ConfigError, match="batch_size is 8: 3 processes cannot share it evenly"), assemble("cpu", 8):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_gpu(environment: Callable[..., None]) -> None:
    with pytest.raises(ConfigError, match="no CUDA device here: train with --device cpu"), assemble("cuda", 8):
        pass
    with assemble("auto", 8) as team:
        assert team.device.type == "cpu"
