"""A graph in 8 bits answers nearly as it did in 32, whatever feeds its products, and alone as beside others."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from plimsoll.learning.rounding import write_rounded

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

WORDS, SIZE = 50, 16


def write_exact(file: Path) -> Path:
    """Embeddings, and three products with the same weights, the first of them with a bias."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(WORDS, SIZE)).astype(np.float32)
    table[:, 3] *= 40  # one channel is far larger than the others, as in real transformers
    weights = rng.normal(size=(SIZE, SIZE)).astype(np.float32) / 4
    constants = {"table": table, "weights": weights, "bias": np.ones(SIZE, np.float32)}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"], name="gather"),
        helper.make_node("MatMul", ["embedded", "weights"], ["first"], name="first"),
        helper.make_node("Add", ["bias", "first"], ["biased"], name="add"),
        helper.make_node("Tanh", ["biased"], ["hidden"], name="tanh"),
        helper.make_node("MatMul", ["hidden", "weights"], ["second"], name="second"),
        helper.make_node("MatMul", ["second", "weights"], ["third"], name="third"),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"], name="unsqueeze"),
        helper.make_node("Mul", ["third", "column"], ["masked"], name="mul"),
        helper.make_node("ReduceSum", ["masked", "middle"], ["vectors"], keepdims=0, name="sum"),
    ]
    constants |= {"last": np.array([2]), "middle": np.array([1])}
    axes = ["texts", "tokens"]
    graph = helper.make_graph(
        nodes,
        "exact",
        [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["texts", SIZE])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


def read(file: Path, rows: list[list[int]]) -> Any:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    longest = max(map(len, rows))
    ids = np.array([row + [0] * (longest - len(row)) for row in rows])
    mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def test_it_answers_nearly_the_same_alone_and_beside_others(tmp_path: Path) -> None:
    exact, rounded = write_exact(tmp_path / "exact.onnx"), tmp_path / "rounded.onnx"
    rng = np.random.default_rng(1)
    rows = [rng.integers(WORDS, size=length).tolist() for length in (3, 9, 5, 1, 12)]
    write_rounded(exact, rounded, [list(range(WORDS))])
    for row in rows:
        ours, right = read(rounded, [row])[0], read(exact, [row])[0]
        assert ours @ right / np.linalg.norm(ours) / np.linalg.norm(right) > 0.99
    assert np.abs(read(rounded, rows) - np.concatenate([read(rounded, [row]) for row in rows])).max() < 1e-4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exact.onnx", "rounded.onnx"]


def test_every_product_with_constant_weights_is_of_integers(tmp_path: Path) -> None:
    exact, rounded = write_exact(tmp_path / "exact.onnx"), tmp_path / "rounded.onnx"
    write_rounded(exact, rounded, [list(range(WORDS))])
    graph = onnx.load(rounded).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("MatMulIntegerToFloat") == 3 and "MatMul" not in kinds and "Add" not in kinds
    stored = [each for each in graph.initializer if each.data_type == TensorProto.INT8 and each.dims == [SIZE, SIZE]]
    assert len(stored) == 1  # the layers share their weights here, too
