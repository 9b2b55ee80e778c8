"""Rounding an encoder's graph to 8 bits, so that a text's vector does not depend on the texts that are read beside it.

What enters a product of matrices is rounded by fixed scales, one for each of its channels, found on the training rows.
A channel's scale is taken out of the numbers and into the weights, which have a scale for each output channel: so large
channels do not cost the small ones their digits (the idea of SmoothQuant, Xiao et al. 2022,
https://arxiv.org/abs/2211.10438). Everything between the products stays in 32 bits.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plimsoll.core.errors import MissingExtra

try:
    import numpy as np
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process
except ImportError as error:
    raise MissingExtra(error.name or "onnx", extra="learning") from error

__all__ = ["write_rounded"]

_CONTRIB = "com.microsoft"
_STEPS = 127
_ONE, _MIDDLE = "plimsoll.one", "plimsoll.middle"
_HEADROOM = 1.5
"""By how much a number may exceed those of the training rows until it is cut. No channel has less than their mean: one
that was quiet there may speak in another text."""
_LEAST = 1e-6
"""The smallest scale, so that nothing is divided by 0."""


def write_rounded(exact: Path, out: Path, rows: Sequence[Sequence[int]]) -> None:
    """Writes the graph of the file `exact`, in 32 bits, to the file `out` in 8. `rows` are token ids of training texts.

    The graph takes `input_ids` and `attention_mask`. Files beside `out` that it needs meanwhile are taken away.
    """
    prepared, small = out.with_suffix(".prepared"), out.with_suffix(".small")
    try:
        quant_pre_process(exact, prepared, skip_symbolic_shape=True)
        quantize_dynamic(prepared, small, weight_type=QuantType.QInt8, op_types_to_quantize=["Gather"])
        graph = _Graph.of(onnx.load(small))
        onnx.save(_rounded(graph, _limits(graph, rows)), out)
    finally:
        prepared.unlink(missing_ok=True)
        small.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Graph:
    """A graph and its constants, and the products with constant weights that each of its values enters."""

    model: Any
    constants: dict[str, Any]
    products: dict[str, list[Any]]

    @classmethod
    def of(cls, model: Any) -> "_Graph":
        constants = {each.name: each for each in model.graph.initializer}
        products = defaultdict(list)
        for node in model.graph.node:
            if node.op_type == "MatMul" and node.input[1] in constants:
                products[node.input[0]].append(node)
        return cls(model, constants, dict(products))

    def weights_of(self, value: str) -> tuple[str, ...]:
        return tuple(node.input[1] for node in self.products[value])

    def biases(self) -> dict[str, Any]:
        """The additions of a constant that follow a product and nothing else reads, by the name of its result."""
        readers = defaultdict(list)
        for node in self.model.graph.node:
            for name in node.input:
                readers[name].append(node)
        found = {}
        for product in (node for nodes in self.products.values() for node in nodes):
            match readers[product.output[0]]:
                case [node] if node.op_type == "Add" and any(name in self.constants for name in node.input):
                    found[product.output[0]] = node
        return found


@dataclass(frozen=True, slots=True)
class _Limit:
    """The largest number of each channel that rounding keeps. Values with the same `place` share theirs."""

    place: int
    most: Any


def _limits(graph: _Graph, rows: Sequence[Sequence[int]]) -> dict[str, _Limit]:
    """The limit of each value that enters a product. Layers that share their weights share it, too."""
    seen: dict[tuple[str, ...], Any] = {}
    for name, most in _largest(graph, rows).items():
        key = graph.weights_of(name)
        seen[key] = np.maximum(seen.get(key, 0.0), most)
    places = {key: _Limit(place, _with_room(most)) for place, (key, most) in enumerate(seen.items())}
    return {name: places[graph.weights_of(name)] for name in graph.products}


def _largest(graph: _Graph, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    """The largest absolute number of each channel over all tokens of the rows."""
    told = onnx.ModelProto()
    told.CopyFrom(graph.model)
    told.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in graph.products
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(told.SerializeToString(), options, ["CPUExecutionProvider"])
    most: dict[str, Any] = dict.fromkeys(graph.products, 0.0)
    for row in rows:
        ids = np.array([row], dtype=np.int64)
        values = session.run(list(most), {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        for name, value in zip(most, values, strict=True):
            most[name] = np.maximum(most[name], np.abs(value).reshape(-1, value.shape[-1]).max(axis=0))
    return most


def _with_room(most: Any) -> Any:
    return _HEADROOM * np.maximum(most, max(float(most.mean()), _LEAST))


def _rounded(graph: _Graph, limits: Mapping[str, _Limit]) -> Any:
    """The same graph with its products in 8 bits: numbers as 1 to 255 around 128, weights as -127 to 127."""
    biases = graph.biases()
    taken_in = {node.output[0] for node in biases.values()}
    constants = {_ONE: np.array(1, np.float32), _MIDDLE: np.array(128, np.uint8)}
    nodes: list[Any] = []
    for node in graph.model.graph.node:
        value = node.input[0] if node.input else ""
        if node.op_type == "MatMul" and node.input[1] in graph.constants:
            if f"{value}.scale" not in constants:
                constants[f"{value}.scale"] = (_STEPS / limits[value].most).astype(np.float32)
                nodes += _rounding(value)
            nodes.append(_product(node, graph, limits[value], constants, biases.get(node.output[0])))
        elif node.output[0] not in taken_in:
            nodes.append(node)
    made = onnx.ModelProto()
    made.CopyFrom(graph.model)
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(nodes)
    replaced = {name for value in limits for name in graph.weights_of(value)}
    made.graph.initializer.extend(each for name, each in graph.constants.items() if name not in replaced)
    made.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    made.opset_import.append(helper.make_opsetid(_CONTRIB, 1))
    return made


def _rounding(value: str) -> list[Any]:
    scaled, rounded = f"{value}.scaled", f"{value}.rounded"
    return [
        helper.make_node("Mul", [value, f"{value}.scale"], [scaled], name=scaled),
        helper.make_node("QuantizeLinear", [scaled, _ONE, _MIDDLE], [rounded], name=rounded),
    ]


def _product(node: Any, graph: _Graph, limit: _Limit, constants: dict[str, Any], bias: Any) -> Any:
    """A product of integers, with its bias, whose result is in 32 bits. The weights are put among the constants."""
    value, weight = node.input
    name = f"{weight}.rounded.{limit.place}"
    if name not in constants:
        # What one step of an input channel is worth goes into the weights; what one step of theirs is, comes after.
        weights = numpy_helper.to_array(graph.constants[weight]) * (limit.most / _STEPS)[:, None]
        worth = np.maximum(np.abs(weights).max(axis=0), _LEAST) / _STEPS
        constants[name] = np.rint(weights / worth).astype(np.int8)
        constants[f"{name}.worth"] = worth.astype(np.float32)
        constants[f"{name}.zero"] = np.zeros(len(worth), np.int8)
    inputs = [f"{value}.rounded", name, _ONE, f"{name}.worth", _MIDDLE, f"{name}.zero"]
    output = node.output[0]
    if bias is not None:
        inputs.append(next(each for each in bias.input if each != output))
        output = bias.output[0]
    return helper.make_node("MatMulIntegerToFloat", inputs, [output], name=output, domain=_CONTRIB)
