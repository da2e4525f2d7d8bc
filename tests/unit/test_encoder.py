"""Laws of the encoders: sizes, gradients, receptive field, short inputs, the scan."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicpase.config import EncoderConfig
from musicpase.nn import PASE, PASEPlus, frame_times, receptive_field
from musicpase.nn.blocks import reflect_pad
from musicpase.nn.qrnn import linear_scan
from tests.parity.original import module, waveform


def test_parameter_counts() -> None:
    assert sum(p.numel() for p in PASE().parameters()) == 6_029_376
    assert sum(p.numel() for p in PASEPlus().parameters()) == 8_324_672


def test_embedding_dim_is_free() -> None:
    assert PASEPlus(EncoderConfig(embedding_dim=24)).eval()(waveform(1600)[None]).shape == (1, 24, 10)


@pytest.mark.parametrize("name", ["pase_512", "paseplus_256"])
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    model = module(name).train()
    model(torch.stack([waveform(3200), waveform(3200).flip(0)])).pow(3).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        # A convolution's bias is undone by the batch norm behind it; everything else must move.
        if not key.endswith("conv.bias") and key != "W.bias":
            assert parameter.grad.abs().max() > 0, key


def test_receptive_field_by_gradient() -> None:
    """The samples with a gradient are those, and only those, that the receptive field names."""
    model = module("pase_512").double()  # no QRNN: its memory reaches back to the first sample
    samples = waveform(8000).double()[None].requires_grad_()
    frame = 25
    model(samples)[0, :, frame].sum().backward()
    assert samples.grad is not None
    touched = samples.grad[0].nonzero()[:, 0]
    first, last = receptive_field(model.config)
    assert (int(touched[0]), int(touched[-1])) == (160 * frame + first, 160 * frame + last)
    centre = float(touched[0] + touched[-1]) / 2
    assert centre == 160 * frame + 150.5
    assert float(frame_times(model.config, 1, frame)) == centre / 16000


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_floating_type_goes_in_and_comes_out(dtype: torch.dtype) -> None:
    model, samples = module("paseplus_256"), waveform(3200)[None]
    with torch.no_grad():
        expected = model(samples)
        found = model.to(dtype)(samples.to(dtype))
    assert found.dtype == dtype
    assert torch.nn.functional.cosine_similarity(found.float().flatten(), expected.flatten(), dim=0) > 0.999


def test_qrnn_is_causal() -> None:
    model = module("paseplus_256")
    x = waveform(16000)[None]
    changed = x.clone()
    changed[:, 12000:] = 0
    with torch.no_grad():
        before, after = model(x), model(changed)
    first_touched = (12000 - receptive_field(model.config)[1]) // 160
    assert torch.equal(before[..., :first_touched], after[..., :first_touched])
    assert not torch.equal(before[..., 75:], after[..., 75:])


@pytest.mark.parametrize("samples", [160, 161, 319, 320, 399, 400, 401, 1000, 3199, 3200])
def test_short_inputs_have_the_documented_number_of_frames(samples: int) -> None:
    with torch.no_grad():
        output = module("paseplus_256")(waveform(samples)[None])
    assert output.shape == (1, 256, samples // 160)
    assert output.isfinite().all()


def test_too_short_or_misshapen_input_is_named() -> None:
    with pytest.raises(ValueError, match="159 samples are shorter than one frame of 160"):
        PASEPlus()(torch.zeros(1, 159))
    with pytest.raises(ValueError, match=r"\(3, 2, 400\)"):
        PASEPlus()(torch.zeros(3, 2, 400))


def test_reflection_agrees_with_numpy_also_when_it_folds_more_than_once() -> None:
    import numpy as np

    for time in (1, 2, 3, 5, 6, 40):
        x = torch.arange(time, dtype=torch.float32)[None, None]
        expected = np.pad(x.numpy(), ((0, 0), (0, 0), (4, 5)), mode="reflect")
        assert np.array_equal(reflect_pad(x, 4, 5).numpy(), expected)


@settings(max_examples=30, deadline=None)
@given(time=st.integers(1, 300), seed=st.integers(0, 1000), with_initial=st.booleans())
def test_scan_equals_the_recurrence(time: int, seed: int, with_initial: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    decay, drive = torch.rand(2, 2, time, 3, generator=generator, dtype=torch.float64)
    initial = torch.rand(2, 3, generator=generator, dtype=torch.float64) if with_initial else None
    state = torch.zeros(2, 3, dtype=torch.float64) if initial is None else initial
    result = linear_scan(decay, drive, initial)
    for t in range(time):
        state = decay[:, t] * state + drive[:, t]
        assert torch.allclose(result[:, t], state, rtol=1e-12)
