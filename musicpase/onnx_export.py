"""An encoder as an ONNX graph that takes sounds of any length.

The graph is written node by node rather than traced: tracing unrolls the recurrence for the length it was traced
with, and cannot express the reflection of a sound shorter than the padding. Operator set 17, which onnxruntime reads
since 1.12. `tests/unit/test_onnx_export.py` compares it with the module.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from musicpase.atomic import write_atomic
from musicpase.config import HOP_LENGTH, SAMPLE_RATE
from musicpase.errors import MissingExtraError
from musicpase.hub import ModelRecord
from musicpase.nn import PASE, frame_times
from musicpase.nn.blocks import ConvBlock
from musicpase.nn.qrnn import QRNN
from musicpase.nn.sinc import SincConv

__all__ = ["export_onnx"]

OPSET = 17
IR_VERSION = 8  # of the same release of ONNX as the operator set


def export_onnx(module: PASE, path: Path, record: ModelRecord | None = None) -> None:
    """Write an encoder as an ONNX file, in one step.

    The graph maps `waveform (batch, samples)`, float32 at 16 kHz with at least 160 samples (one frame), to
    `embedding (batch, embedding_dim, samples // 160)`; batch and samples are free. The file's metadata hold
    sample_rate [Hz], hop_length [samples], first_timestamp [s] (frame i is `i * hop_length / sample_rate` later),
    embedding_dim, and with a record model, trained, weights_sha256 and weights_licence.

    Args:
        module: the encoder; exported as it computes in evaluation mode, whatever mode it is in.
        path: where to write, usually `*.onnx`.
        record: what `load_module` said about the weights.

    Raises:
        MissingExtraError: the package onnx is not installed.
        OutputError: the file cannot be written; an old one is untouched.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError(
            "exporting needs the package onnx; run: python -m pip install 'musicpase[onnx]'"
        ) from None
    with torch.no_grad():
        model = _Graph(onnx).encoder(module)
    properties: dict[str, object] = {
        "sample_rate": SAMPLE_RATE,
        "hop_length": HOP_LENGTH,
        "first_timestamp": float(frame_times(module.config, 1)),
        "embedding_dim": module.config.embedding_dim,
    }
    if record is not None:
        properties |= {
            "model": record.name,
            "trained": str(record.trained).lower(),
            "weights_sha256": record.sha256,
            "weights_licence": record.licence,
        }
    onnx.helper.set_model_props(model, {key: str(value) for key, value in properties.items()})
    onnx.checker.check_model(model, full_check=True)
    write_atomic(path, model.SerializeToString())


class _Graph:  # onnx is an extra without type information, hence Any
    """Nodes and weights written so far; each method adds some and returns the name of their output."""

    def __init__(self, package: Any) -> None:
        self.helper = package.helper
        self.numpy_helper = package.numpy_helper
        self.types = package.TensorProto
        self.nodes: list[Any] = []
        self.weights: dict[str, NDArray[Any]] = {}

    def encoder(self, module: PASE) -> Any:
        """The whole graph: `PASE.forward`, step by step."""
        config = module.config
        frames = self.add("Div", self.length("waveform", 1), self.ints(HOP_LENGTH))
        x = self.add("Unsqueeze", "waveform", self.ints(1))
        hop, terms = 1, []
        for index, (block, stride) in enumerate(zip(module.blocks, config.strides, strict=True)):
            assert isinstance(block, ConvBlock)
            x = self.block(x, block, stride)
            hop *= stride
            if index < len(module.denseskips):
                skip = module.denseskips[index]
                assert isinstance(skip, nn.Conv1d)
                terms.append(self.skip(x, skip, frames, HOP_LENGTH // hop))
        x = self.slice(x, frames)
        if isinstance(module.rnn, QRNN):
            x = self.qrnn(x, module.rnn)
        top = self.convolution(x, module.W.weight, module.W.bias, 1)
        y = self.add("Sum", top, *terms) if terms else top
        self.norm(y, module.norm_out, output="embedding")
        return self.model(config.embedding_dim)

    def block(self, x: str, block: ConvBlock, stride: int) -> str:
        """`ConvBlock`."""
        x = self.reflect(x, *block.padding)
        if isinstance(block.conv, SincConv):
            x = self.convolution(x, block.conv.filters(), None, 1)
        else:
            assert isinstance(block.conv, nn.Conv1d)
            x = self.convolution(x, block.conv.weight, block.conv.bias, stride)
        x = self.norm(x, block.norm)
        return self.add("PRelu", x, self.weight(block.act.weight[:, None]))

    def reflect(self, x: str, left: int, right: int) -> str:
        """`reflect_pad`, also of a sound shorter than the padding, which the operator Pad refuses."""
        length = self.length(x, 2)
        last = self.add("Sub", length, self.ints(1))
        twice = self.add("Add", last, last)
        period = self.add("Max", twice, self.ints(1))  # a single sample mirrors onto itself
        after = self.add("Add", length, self.ints(*range(right)))

        def mirrored(position: str) -> str:
            folded = self.add("Mod", position, period)
            index = self.add("Min", folded, self.add("Sub", twice, folded))
            return self.add("Gather", x, index, axis=2)

        return self.add("Concat", mirrored(self.ints(*range(-left, 0))), x, mirrored(after), axis=2)

    def skip(self, x: str, skip: nn.Conv1d, frames: str, steps: int) -> str:
        """A skip connection: `steps` values averaged into a frame, then the projection."""
        x = self.slice(x, self.add("Mul", frames, self.ints(steps)))
        x = self.add("Reshape", x, self.ints(0, skip.in_channels, -1, steps))
        x = self.add("ReduceMean", x, axes=[3], keepdims=0)
        return self.convolution(x, skip.weight, None, 1)

    def qrnn(self, x: str, layer: QRNN) -> str:
        """`QRNN`, its recurrence as a Scan over `(time, batch, channels)`."""
        x = self.add("Transpose", x, perm=[2, 0, 1])
        previous = self.add("Pad", x, self.ints(1, 0, 0, -1, 0, 0))
        both = self.add("Concat", x, previous, axis=2)
        gates = self.add("MatMul", both, self.weight(layer.linear.weight.T))
        gates = self.add("Add", gates, self.weight(layer.linear.bias))
        z, f, o = (f"{gates}.{gate}" for gate in "zfo")
        self.nodes.append(self.helper.make_node("Split", [gates], [z, f, o], axis=2))
        f = self.add("Sigmoid", f)
        decay = self.add("Sub", self.floats(1.0), f)
        drive = self.add("Mul", f, self.add("Tanh", z))
        batch = self.length(x, 1)
        zero = self.helper.make_tensor("zero", self.types.FLOAT, [1], [0.0])
        width = self.ints(layer.linear.out_features // 3)
        initial = self.add("ConstantOfShape", self.add("Concat", batch, width, axis=0), value=zero)
        states = f"{drive}.states"
        self.nodes.append(
            self.helper.make_node(
                "Scan", [initial, decay, drive], [f"{drive}.end", states], num_scan_inputs=2, body=self.step()
            )
        )
        h = self.add("Mul", self.add("Sigmoid", o), states)
        return self.add("Transpose", h, perm=[1, 2, 0])

    def step(self) -> Any:
        """One step of the recurrence: `c = decay * c + drive`, given on as state and as output."""
        make = self.helper.make_node
        kept, state, output = "kept", "state", "output"
        nodes = [
            make("Mul", ["decay", "before"], [kept]),
            make("Add", [kept, "drive"], [state]),
            make("Identity", [state], [output]),
        ]
        shape = ["batch", "channels"]

        def values(*names: str) -> list[Any]:
            return [self.helper.make_tensor_value_info(name, self.types.FLOAT, shape) for name in names]

        return self.helper.make_graph(nodes, "step", values("before", "decay", "drive"), values(state, output))

    def convolution(self, x: str, weight: torch.Tensor, bias: torch.Tensor | None, stride: int) -> str:
        """A convolution without padding."""
        inputs = [x, self.weight(weight)] + ([self.weight(bias)] if bias is not None else [])
        return self.add("Conv", *inputs, strides=[stride])

    def norm(self, x: str, norm: nn.BatchNorm1d, output: str | None = None) -> str:
        """A batch norm with its running statistics."""
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None and variance is not None
        scale = norm.weight if norm.affine else torch.ones_like(mean)
        shift = norm.bias if norm.affine else torch.zeros_like(mean)
        values = (self.weight(value) for value in (scale, shift, mean, variance))
        return self.add("BatchNormalization", x, *values, epsilon=norm.eps, output=output)

    def length(self, x: str, axis: int) -> str:
        """Size of an axis, as a vector of one number."""
        return self.add("Shape", x, start=axis, end=axis + 1)

    def slice(self, x: str, end: str) -> str:
        """The first `end` time steps of `(batch, channels, time)`."""
        return self.add("Slice", x, self.ints(0), end, self.ints(2))

    def ints(self, *values: int) -> str:
        """A constant vector of whole numbers."""
        return self.constant(np.array(values, dtype=np.int64))

    def floats(self, *values: float) -> str:
        """A constant vector."""
        return self.constant(np.array(values, dtype=np.float32))

    def weight(self, value: torch.Tensor) -> str:
        """A tensor of the module."""
        return self.constant(value.detach().float().cpu().numpy())

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant.{len(self.weights)}"
        self.weights[name] = np.ascontiguousarray(value)
        return name

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """One node with one output."""
        output = output or f"{operator}.{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(operator, inputs, [output], **attributes))
        return output

    def model(self, embedding_dim: int) -> Any:
        """The finished model."""
        info = self.helper.make_tensor_value_info
        graph = self.helper.make_graph(
            self.nodes,
            "musicpase",
            [info("waveform", self.types.FLOAT, ["batch", "samples"])],
            [info("embedding", self.types.FLOAT, ["batch", embedding_dim, "frames"])],
            [self.numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        opsets = [self.helper.make_opsetid("", OPSET)]
        return self.helper.make_model(graph, producer_name="musicpase", ir_version=IR_VERSION, opset_imports=opsets)
