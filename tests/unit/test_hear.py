"""Laws of the HEAR interface: the public validator accepts it, and its numbers are the module's."""

import sys
import types
from pathlib import Path

import pytest
import torch

from musicpase import hear
from musicpase.errors import AudioError
from musicpase.nn import frame_times
from tests.parity.original import waveform
from tests.unit.models import small_module


@pytest.fixture
def model(tmp_path: Path) -> hear.HearModel:
    small_module().save_pretrained(tmp_path)
    return hear.load_model(str(tmp_path))


def test_public_validator_accepts_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    tensorflow = types.ModuleType("tensorflow")  # the validator only asks whether a model is a tf.Module
    tensorflow.__dict__.update(Module=type("Module", (), {}))
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    validate = pytest.importorskip(
        "hearvalidator.validate", reason="run: python -m pip install --no-deps hearvalidator==2021.0.2"
    )
    validate.ValidateModel("musicpase.hear", "", device="cpu")()


def test_embeddings_and_timestamps_are_the_modules(model: hear.HearModel) -> None:
    sounds = torch.stack([waveform(48_100), -waveform(48_100).flip(0)])
    embeddings, timestamps = hear.get_timestamp_embeddings(sounds, model)
    with torch.no_grad():
        expected = model(sounds).transpose(1, 2)
    assert (embeddings - expected).abs().max() < 1e-4 * expected.square().mean().sqrt()
    assert torch.equal(timestamps, frame_times(model.encoder.config, 300).expand(2, 300) * 1000)
    assert float(timestamps[0, 0]) == 9.40625
    scenes = hear.get_scene_embeddings(sounds, model)
    assert (scenes - expected.mean(1)).abs().max() < 1e-4 * expected.square().mean().sqrt()
    assert {embeddings.dtype, scenes.dtype} == {torch.float32}


def test_a_trained_model_is_used_as_it_stands(model: hear.HearModel) -> None:
    sounds = waveform(1600)[None]
    before = hear.get_scene_embeddings(sounds, model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    after = hear.get_scene_embeddings(sounds, model)
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("shape", [(1600,), (0, 1600), (1, 2, 1600), (2, 159), (2, 0)])
def test_sounds_of_another_shape_are_refused(model: hear.HearModel, shape: tuple[int, ...]) -> None:
    for function in (hear.get_scene_embeddings, hear.get_timestamp_embeddings):
        with pytest.raises(AudioError):
            function(torch.zeros(shape), model)


def test_non_finite_sounds_are_refused(model: hear.HearModel) -> None:
    with pytest.raises(AudioError, match="finite"):
        hear.get_scene_embeddings(torch.full((1, 1600), float("nan")), model)
