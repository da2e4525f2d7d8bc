"""What a worker promises: its target, its shape, its gradient, and its independence of the others."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicpase.config import EncoderConfig
from musicpase.errors import AudioError, ConfigError, ModelError
from musicpase.features import Features
from musicpase.nn import PASE
from musicpase.workers import (
    WORKERS,
    WORKERS_NAME,
    Statistics,
    Targets,
    Worker,
    Workers,
    load_workers,
    measure_statistics,
    save_workers,
    select_workers,
)
from musicpase.workers.heads import FrameHead, WaveformHead

SMALL = EncoderConfig(embedding_dim=24, channels=(4, 6, 8, 10, 12, 14, 16, 20), qrnn_dim=16)
PAPER_SUBSETS = ("WLP", "WLPM", "WLPC", "WLPT", "WLPMC", "WLPMT", "WLPCT", "WLPMCT")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_encoder() -> PASE:
    torch.manual_seed(0)
    return PASE(SMALL)


def tiny_corpus(batch: int = 4, samples: int = 8000) -> Tensor:
    """Harmonic tones of different pitch that are struck twice."""
    time = torch.arange(samples) / 16_000
    f0 = torch.tensor([147.0, 220.0, 294.0, 392.0])[:batch, None]
    tone = torch.stack([torch.sin(2 * torch.pi * k * f0 * time) / k for k in range(1, 5)]).sum(0)
    return 0.3 * tone * torch.exp(-8 * (time % 0.25)) + 0.003 * torch.randn(batch, samples, generator=generator())


@pytest.fixture(scope="module")
def targets() -> Targets:
    return Targets(WORKERS)


@pytest.fixture(scope="module")
def raw(targets: Targets) -> dict[str, Tensor]:
    found: dict[str, Tensor] = targets(tiny_corpus())
    return found


def losses_of(
    workers: Sequence[Worker], embedding: Tensor, found: dict[str, Tensor], seed: int = 0
) -> dict[str, Tensor]:
    return Workers(workers, SMALL, generator(seed)).forward(embedding, found)


@pytest.mark.parametrize("letters", PAPER_SUBSETS)
def test_the_papers_subsets(letters: str) -> None:
    chosen = select_workers(letters)
    assert "".join(worker.letter for worker in chosen) == letters
    assert list(Workers(chosen, SMALL, generator()).heads) == [worker.name for worker in chosen]


@pytest.mark.parametrize(("letters", "message"), [("", "WLPMCT"), ("WLX", "'X'"), ("wlp", "'w'"), ("WLPW", "twice")])
def test_other_names_are_refused(letters: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select_workers(letters)


def test_the_catalogue_is_the_papers() -> None:
    assert [(w.letter, w.name, w.rows) for w in WORKERS] == [
        ("W", "waveform", 1),
        ("L", "lps", 1025),
        ("P", "prosody", 4),
        ("M", "mfcc", 20),
        ("C", "chroma", 12),
        ("T", "tempogram", 384),
    ]
    assert [w.loss is F.l1_loss for w in WORKERS] == [w.letter == "W" for w in WORKERS]
    assert all(w.loss in (F.l1_loss, F.mse_loss) for w in WORKERS)
    for worker in WORKERS[1:]:
        hidden, activation, last = worker.head(EncoderConfig(), worker.rows).children()
        assert isinstance(hidden, nn.Conv1d) and isinstance(activation, nn.PReLU) and isinstance(last, nn.Conv1d)
        assert (hidden.in_channels, hidden.out_channels, hidden.kernel_size) == (512, 256, (1,))
        assert (last.out_channels, last.kernel_size) == (worker.rows, (1,))


def test_targets_are_the_features_and_the_waveform(raw: dict[str, Tensor], targets: Targets) -> None:
    assert list(raw) == [worker.name for worker in WORKERS]
    for name, expected in Features()(tiny_corpus()).items():
        assert torch.equal(raw[name], expected)
    odd = tiny_corpus(1, 8003)
    assert torch.equal(targets(odd)["waveform"], odd[:, None, :8000])


def test_predictions_have_the_targets_shapes(raw: dict[str, Tensor]) -> None:
    predicted = Workers(WORKERS, SMALL, generator()).predict(small_encoder()(tiny_corpus()))
    assert {name: p.shape for name, p in predicted.items()} == {name: t.shape for name, t in raw.items()}


def test_the_waveform_head_is_the_encoder_backwards() -> None:
    config = EncoderConfig()
    head = WaveformHead(config, 1)
    layers = [layer for layer in head.layers if isinstance(layer, nn.ConvTranspose1d)]
    assert tuple(layer.kernel_size[0] for layer in layers) == config.kernel_sizes[::-1]
    assert tuple(layer.stride[0] for layer in layers) == config.strides[::-1]
    assert tuple(layer.in_channels for layer in layers) == (512, *config.channels[-2::-1])
    assert tuple(layer.out_channels for layer in layers) == (*config.channels[-2::-1], 1)


def test_the_waveform_head_puts_a_frame_where_the_encoder_saw_it() -> None:
    """Frame i can change exactly the samples that can change frame i of the encoder's convolutions."""
    head = WaveformHead(SMALL, 1)
    embedding = torch.randn(1, 24, 40, generator=generator())
    changed = embedding.clone()
    changed[..., 20] += 1.0
    difference = (head(changed) - head(embedding)).abs()[0, 0]
    assert difference.shape == (6400,)
    touched = difference.nonzero()
    assert (int(touched.min()), int(touched.max())) == (20 * 160 - 1034, 20 * 160 + 1335)


@pytest.mark.parametrize("worker", WORKERS, ids=lambda worker: worker.name)
@pytest.mark.parametrize("standardize", [False, True], ids=["raw", "standardized"])
def test_the_loss_falls(worker: Worker, standardize: bool, targets: Targets, raw: dict[str, Tensor]) -> None:
    encoder = small_encoder()
    workers = Workers([worker], SMALL, generator())
    if standardize:
        workers.standardize(measure_statistics(targets, [tiny_corpus()]))
    optimizer = torch.optim.Adam([*encoder.parameters(), *workers.parameters()], lr=0.005)
    history = []
    for _ in range(20):
        optimizer.zero_grad()
        loss: Tensor = workers(encoder(tiny_corpus()), raw)[worker.name]
        torch.autograd.backward(loss)
        optimizer.step()
        history.append(loss.item())
    assert min(history[-5:]) < 0.9 * history[0], history


@pytest.mark.parametrize("worker", WORKERS, ids=lambda worker: worker.name)
def test_its_gradient_reaches_every_encoder_parameter(worker: Worker, raw: dict[str, Tensor]) -> None:
    # With stored statistics: in training mode a batch norm takes away whatever the bias before it adds.
    encoder = small_encoder().eval()
    for module in encoder.modules():
        if isinstance(module, nn.PReLU):
            nn.init.constant_(module.weight, 0.1)  # slope 0, the start, would let units be dead in so small a net
    torch.autograd.backward(losses_of([worker], encoder(tiny_corpus()), raw)[worker.name])
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("off", WORKERS, ids=lambda worker: worker.name)
def test_a_worker_switched_off_changes_nothing_in_the_others(off: Worker, raw: dict[str, Tensor]) -> None:
    embedding = small_encoder()(tiny_corpus()).detach().requires_grad_()
    rest = [worker for worker in WORKERS if worker is not off]
    all_losses, rest_losses = losses_of(WORKERS, embedding, raw), losses_of(rest, embedding, raw)
    for worker in rest:
        assert torch.equal(all_losses[worker.name], rest_losses[worker.name])
        (one,) = torch.autograd.grad(all_losses[worker.name], embedding)
        (other,) = torch.autograd.grad(rest_losses[worker.name], embedding)
        assert torch.equal(one, other)
    only = Targets(rest)(tiny_corpus())
    assert list(only) == [worker.name for worker in rest]
    assert all(torch.equal(only[name], raw[name]) for name in only)


def test_initial_weights_are_the_generators() -> None:
    state = torch.get_rng_state()
    one, same, other = (Workers(WORKERS, SMALL, generator(seed)).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_statistics_do_not_depend_on_the_batches(targets: Targets) -> None:
    corpus = tiny_corpus()
    whole = measure_statistics(targets, [corpus])
    parts = measure_statistics(targets, [corpus[:1], corpus[1:]])
    for name, target in targets(corpus).items():
        rows = target.transpose(0, 1).flatten(1).double()
        torch.testing.assert_close(whole[name].mean, rows.mean(1).float(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-5)


def test_standardised_targets_have_mean_0_and_deviation_1(targets: Targets, raw: dict[str, Tensor]) -> None:
    workers = Workers(WORKERS, SMALL, generator())
    workers.standardize(measure_statistics(targets, [tiny_corpus()]))
    for name, target in raw.items():
        rows = workers.standardizers[name](target).transpose(0, 1).flatten(1)
        deviation = rows.std(1, correction=0)
        assert rows.mean(1).abs().max() < 1e-3, name
        # a row that never changes (lag 0 of the tempogram) is only centred
        assert (((deviation - 1).abs() < 1e-3) | (target.transpose(0, 1).flatten(1).std(1) < 1e-5)).all(), name


def test_without_statistics_targets_are_raw(raw: dict[str, Tensor]) -> None:
    workers = Workers(WORKERS, SMALL, generator())
    assert all(torch.equal(workers.standardizers[name](raw[name]), raw[name]) for name in raw)


def test_statistics_are_in_the_state_dict_and_predictions_in_raw_units(raw: dict[str, Tensor]) -> None:
    worker = replace(WORKERS[3], head=lambda config, rows: nn.Identity(), rows=20)
    workers = Workers([worker], SMALL, generator())
    workers.standardize({"mfcc": Statistics(torch.arange(20.0), torch.full((20,), 3.0))})
    assert torch.equal(workers.state_dict()["standardizers.mfcc.mean"][:, 0], torch.arange(20.0))
    standardised = workers.standardizers["mfcc"](raw["mfcc"])
    torch.testing.assert_close(workers.predict(standardised)["mfcc"], raw["mfcc"], rtol=1e-4, atol=1e-4)


def test_missing_statistics_are_named() -> None:
    with pytest.raises(ConfigError, match="'lps'"):
        Workers(WORKERS[1:2], SMALL, generator()).standardize({})


def test_an_empty_corpus_sample_is_refused(targets: Targets) -> None:
    with pytest.raises(ConfigError, match="empty"):
        measure_statistics(targets, [])


@pytest.mark.parametrize("letters", ["W", "WLPMCT"])
def test_bad_waveforms_are_refused(letters: str) -> None:
    targets = Targets(select_workers(letters))
    with pytest.raises(AudioError, match="2047"):
        targets(torch.zeros(1, 2047))
    with pytest.raises(AudioError, match="44100"):
        targets(torch.zeros(1, 4000), sample_rate=44_100)
    with pytest.raises(AudioError, match="nan"):
        targets(torch.full((1, 4000), torch.nan))


def test_a_new_worker_is_one_row() -> None:
    """As CONTRIBUTING.md says: a row with a target, a head and a loss is all that is needed."""
    energy = Worker("E", "energy", 1, FrameHead, F.l1_loss)
    workers = Workers([*WORKERS[1:2], energy], SMALL, generator())
    batch = tiny_corpus()
    found = Targets(WORKERS[1:2])(batch) | {"energy": batch.view(4, 50, 160).square().mean(2)[:, None]}
    losses = workers(small_encoder()(batch), found)
    assert list(losses) == ["lps", "energy"]


def test_saved_workers_come_back(tmp_path: Path, raw: dict[str, Tensor]) -> None:
    workers = Workers(select_workers("LPC"), SMALL, generator())
    workers.standardize({name: Statistics(t[0].mean(1), t[0].std(1) + 1) for name, t in raw.items()})
    save_workers(workers, tmp_path)
    loaded = load_workers(tmp_path, SMALL)
    assert loaded is not None
    assert [worker.letter for worker in loaded.workers] == ["L", "P", "C"]
    assert all(torch.equal(value, workers.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_a_folder_without_workers_has_none(tmp_path: Path) -> None:
    assert load_workers(tmp_path, SMALL) is None


def test_workers_of_another_encoder_are_refused(tmp_path: Path) -> None:
    save_workers(Workers(select_workers("M"), SMALL, generator()), tmp_path)
    with pytest.raises(ModelError, match=WORKERS_NAME):
        load_workers(tmp_path, EncoderConfig())


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\x02\0\0\0\0\0\0\0{}"])
def test_damaged_workers_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / WORKERS_NAME).write_bytes(content)
    with pytest.raises(ModelError, match=WORKERS_NAME):
        load_workers(tmp_path, SMALL)
