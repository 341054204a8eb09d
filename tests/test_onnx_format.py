"""ONNX files as arrays and graphs, and what damaged and hostile ones give."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdeep.formats import FormatError, read_weights, sniff
from skdeep.formats.onnx import read

onnx = pytest.importorskip("onnx", reason="files are written with the onnx package")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

RNG = np.random.default_rng(0)


def model_of(tensors, nodes=None, inputs=(), outputs=("y",), **options):
    nodes = nodes or [helper.make_node("Identity", ["x"], ["y"], name="same")]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in dict(inputs).items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        list(tensors),
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], producer_name="test", **options)


def saved(tmp_path, model, name="net.onnx"):
    path = tmp_path / name
    path.write_bytes(model.SerializeToString())
    return path


ARRAYS = {
    "float32": RNG.standard_normal((2, 3)).astype(np.float32),
    "float16": RNG.standard_normal((4,)).astype(np.float16),
    "float64": RNG.standard_normal((2, 1, 2)),
    "int64": np.array([-(2**62), 5, 0]),
    "int32": np.array([[-7, 2**31 - 1]], np.int32),
    "int16": np.array([-3, 9], np.int16),
    "uint16": np.array([65535], np.uint16),
    "int8": np.array([-128, 127], np.int8),
    "uint8": np.array([255, 0], np.uint8),
    "uint32": np.array([2**32 - 1], np.uint32),
    "uint64": np.array([2**64 - 1], np.uint64),
    "bool": np.array([True, False]),
    "scalar": np.array(3.5, np.float32),
    "empty": np.zeros((0, 4), np.float32),
}


class TestTensors:
    @pytest.mark.parametrize("raw", [True, False])
    def test_all_types(self, tmp_path, raw):
        tensors = []
        for name, array in ARRAYS.items():
            if raw:
                tensors.append(numpy_helper.from_array(array, name))
            else:
                kind = helper.np_dtype_to_tensor_dtype(array.dtype)
                values = array.ravel().tolist()
                tensors.append(helper.make_tensor(name, kind, array.shape, values))
        file = read(saved(tmp_path, model_of(tensors)))
        assert list(file.tensors) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert file.tensors[name].dtype == array.dtype, name
            np.testing.assert_array_equal(file.tensors[name], array)

    def test_bfloat16_comes_as_float32(self, tmp_path):
        values = [1.0, -2.5, 0.15625]
        tensor = helper.make_tensor("w", TensorProto.BFLOAT16, [3], values)
        w = read(saved(tmp_path, model_of([tensor]))).tensors["w"]
        assert w.dtype == np.float32
        np.testing.assert_array_equal(w, np.float32(values))

    def test_raw_bytes_stay_in_the_file(self, tmp_path):
        file = read(saved(tmp_path, model_of([numpy_helper.from_array(ARRAYS["float32"], "w")])))
        w = file.tensors["w"]
        assert not w.flags.owndata and not w.flags.writeable

    @pytest.mark.parametrize("kind", [TensorProto.FLOAT8E4M3FN, TensorProto.INT4])
    def test_rare_types_are_refused(self, tmp_path, kind):
        tensor = TensorProto(name="w", data_type=kind, dims=[2], raw_data=b"12")
        with pytest.raises(FormatError, match=r"net.onnx: initializer 'w' has numbers of type"):
            read(saved(tmp_path, model_of([tensor])))

    @pytest.mark.parametrize("dims", [[3], [2**40, 2**40], [-1, -6], [2**62, 4], []])
    def test_sizes_that_do_not_fit(self, tmp_path, dims):
        tensor = numpy_helper.from_array(ARRAYS["float32"], "w")
        del tensor.dims[:]
        tensor.dims.extend(dims)
        with pytest.raises(FormatError, match="has 6 elements"):
            read(saved(tmp_path, model_of([tensor])))

    def test_names_twice(self, tmp_path):
        tensors = [numpy_helper.from_array(ARRAYS["float32"], "w")] * 2
        with pytest.raises(FormatError, match="empty or taken"):
            read(saved(tmp_path, model_of(tensors)))


class TestExternal:
    def model(self, tmp_path, **entries):
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 3])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "weights.bin").write_bytes(b"head" + ARRAYS["float32"].tobytes())
        (tmp_path / "secret.bin").write_bytes(bytes(24))
        return saved(folder, model_of([tensor]))

    def test_is_read(self, tmp_path):
        path = self.model(tmp_path, location="weights.bin", offset=4, length=24)
        np.testing.assert_array_equal(read(path).tensors["w"], ARRAYS["float32"])

    @pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "a/../../secret.bin"])
    def test_no_other_folder(self, tmp_path, location):
        with pytest.raises(FormatError, match="outside the model's folder"):
            read(self.model(tmp_path, location=location))

    def test_no_link_out_of_the_folder(self, tmp_path):
        path = self.model(tmp_path, location="link.bin")
        os.symlink(tmp_path / "secret.bin", path.parent / "link.bin")
        with pytest.raises(FormatError, match="outside the model's folder"):
            read(path)

    @pytest.mark.parametrize(
        "entries",
        [
            {"location": "gone.bin"},
            {"location": "."},
            {},
            {"location": "weights.bin", "offset": 8},
            {"location": "weights.bin", "offset": -4},
            {"location": "weights.bin", "offset": 10**20},
            {"location": "weights.bin", "length": 12},
            {"location": "weights.bin", "offset": "four"},
            {"location": "w\0.bin"},
            {"location": "x" * 5000},
        ],
    )
    def test_what_does_not_fit(self, tmp_path, entries):
        with pytest.raises(FormatError, match="initializer 'w'"):
            read(self.model(tmp_path, **entries))


class TestGraph:
    def test_nodes_inputs_metadata(self, tmp_path):
        node = helper.make_node(
            "Pad", ["x"], ["y"], name="pad", pads=[0, 1], value=2.5, mode="edge", scales=[1.5, 2.0],
            names=["a", "b"], table=numpy_helper.from_array(ARRAYS["int64"], ""), nothing=[1],
        )  # fmt: skip
        (nothing,) = (a for a in node.attribute if a.name == "nothing")
        del nothing.ints[:]
        model = model_of([], [node], {"x": ["n", 3, 8, None]}, ir_version=8)
        model.metadata_props.add(key="licence", value="free")
        file = read(saved(tmp_path, model))
        (found,) = file.graph.nodes
        assert (found.op, found.name, found.inputs, found.outputs) == ("Pad", "pad", ["x"], ["y"])
        table = found.attributes.pop("table")
        np.testing.assert_array_equal(table, ARRAYS["int64"])
        assert found.attributes == {
            "pads": [0, 1], "value": 2.5, "mode": "edge", "scales": [1.5, 2.0],
            "names": ["a", "b"], "nothing": [],
        }  # fmt: skip
        assert file.graph.inputs == {"x": (None, 3, 8, None)}
        assert file.graph.outputs == ["y"] and file.graph.opset == 17
        assert file.format == "onnx"
        assert file.metadata["producer"] == "test" and file.metadata["ir_version"] == 8
        assert file.metadata["licence"] == "free"

    def test_other_domains_keep_their_name(self, tmp_path):
        node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
        assert read(saved(tmp_path, model_of([], [node]))).graph.nodes[0].op == "com.microsoft.Gelu"

    def test_graphs_inside_are_refused(self, tmp_path):
        inner = helper.make_graph([], "inner", [], [])
        node = helper.make_node("If", ["x"], ["y"], "branch", then_branch=inner, else_branch=inner)
        with pytest.raises(FormatError, match=r"of node 'branch' \(If\) is a graph of its own"):
            read(saved(tmp_path, model_of([], [node])))

    def test_sparse_is_refused(self, tmp_path):
        model = model_of([])
        model.graph.sparse_initializer.add()
        with pytest.raises(FormatError, match="sparse"):
            read(saved(tmp_path, model))

    def test_is_recognised(self, tmp_path):
        path = saved(tmp_path, model_of([numpy_helper.from_array(ARRAYS["float32"], "w")]), "model")
        assert sniff(path) == "onnx"
        assert read_weights(path).tensors["w"].shape == (2, 3)


def bytes_of_a_model():
    tensors = [numpy_helper.from_array(a, n) for n, a in ARRAYS.items()]
    node = helper.make_node("Conv", ["x", "float32"], ["y"], name="conv", strides=[2, 2], alpha=1.5)
    return model_of(tensors, [node], {"x": ["n", 3, 8, 8]}).SerializeToString()


def reads_or_refuses(path, data):
    path.write_bytes(data)
    try:
        file = read(path)
    except FormatError as error:
        assert str(path) in str(error)
    else:
        assert all(isinstance(a, np.ndarray) for a in file.tensors.values())


def test_cut_short_anywhere(tmp_path):
    data = bytes_of_a_model()
    for size in range(len(data)):
        reads_or_refuses(tmp_path / "net.onnx", data[:size])


@settings(max_examples=300, deadline=None)
@given(places=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6))
def test_damaged_bytes(places, tmp_path_factory):
    data = bytearray(bytes_of_a_model())
    for place, value in places:
        data[place % len(data)] = value
    reads_or_refuses(tmp_path_factory.getbasetemp() / "damaged.onnx", bytes(data))


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes(data, tmp_path_factory):
    reads_or_refuses(tmp_path_factory.getbasetemp() / "any.onnx", b"\x08\x08" + data)


def test_no_graph(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x08\x08")
    with pytest.raises(FormatError, match=r"net\.onnx: there is no graph"):
        read(path)
