"""Law: the encoders compute what the original implementation computes."""

import pytest
import torch

from tests.parity.original import LENGTHS, MODELS, REFERENCE, module, waveform


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("samples", LENGTHS)
@pytest.mark.parametrize("name", MODELS)
def test_equals_original(name: str, samples: int) -> None:
    with torch.no_grad():
        output = module(name)(waveform(samples)[None])[0]
    assert tuple(output.shape) == tuple(REFERENCE[f"{name}/out_{samples}_shape"])
    assert relative_error(output[:, ::37], torch.from_numpy(REFERENCE[f"{name}/out_{samples}"])) < 1e-5
    assert relative_error(output.mean(1), torch.from_numpy(REFERENCE[f"{name}/mean_{samples}"])) < 1e-5
