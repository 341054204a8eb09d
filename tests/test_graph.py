"""The graph: its order, its derivatives, the passes that rewrite it, and where its memory lies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdeep import ops
from skdeep.graph import OPS, Op, Row, Tensor, compile_program, gradients, register
from skdeep.graph.op import topological
from skdeep.graph.passes import optimize, rewrite, split_static
from skdeep.graph.plan import SLACK, plan_arena, storage
from skdeep.graph.program import evaluate
from skdeep.layers import Activation, BatchNorm, Conv2D, Dense, LayerScale, Residual
from skdeep.layers.network import Network

RNG = np.random.RandomState(0)


def leaf(*shape):
    return Tensor(shape, role="data")


def kinds(outputs):
    """Names of the operations that outputs need."""
    return [type(op).__name__ for op in topological(outputs)]


# -- tensors and order ---------------------------------------------------------------------------


def test_tensors_know_their_size_and_origin():
    x = leaf(3, 4, 5)
    assert (x.size, x.ndim, x.shape) == (60, 3, (3, 4, 5))
    y = ops.relu(x)
    assert y.op.inputs == (x,) and y.op.output is y
    assert "Relu" in repr(y) and "data" in repr(x)


def test_operators_build_operations():
    x, y = leaf(2, 3), leaf(2, 3)
    a, b = RNG.rand(2, 2, 3).astype(np.float32) + 1
    built = [x + y, x - y, x * y, x / y, -x, x**3, 2 + x, 2 - x, 2 * x, 2 / x, x + 2, x / 4]
    expected = [a + b, a - b, a * b, a / b, -a, a**3, 2 + a, 2 - a, 2 * a, 2 / a, a + 2, a / 4]
    for got, want in zip(evaluate(built, {x: a, y: b}), expected):
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_topological_order():
    x = leaf(2)
    a = ops.relu(x)
    b = ops.tanh(x)
    c = a * b
    order = topological([c, ops.exp(b)])
    assert len(order) == 4
    place = {id(op): k for k, op in enumerate(order)}
    for op in order:
        for t in op.inputs:
            assert t is None or t.op is None or place[id(t.op)] < place[id(op)]
    assert [type(op).__name__ for op in topological([b, a])] == ["Tanh", "Relu"]
    assert topological([x]) == []


def test_deep_graphs_need_no_recursion():
    x = y = leaf(2)
    for _ in range(5000):
        y = ops.negative(y)
    assert len(topological([y])) == 5000
    (g,) = gradients(y, [x])
    assert g.shape == (2,)
    assert compile_program([y]).arena_size < 200


# -- derivatives ---------------------------------------------------------------------------------


def test_gradients_of_many_uses_add_up():
    x = leaf(5)
    value = RNG.rand(5).astype(np.float32) + 0.5
    y = x * x * x + 2 * x + ops.exp(x) / x
    (g,) = gradients(y, [x])
    v = value.astype(np.float64)
    expected = 3 * v**2 + 2 + np.exp(v) * (v - 1) / v**2
    np.testing.assert_allclose(evaluate([g], {x: value})[0], expected, rtol=1e-5)


def test_gradients_stop_where_nothing_depends():
    x, y, z = leaf(3), leaf(3), leaf(3)
    g = gradients(x * y, [x, y, z])
    assert g[0] is not None and g[1] is not None and g[2] is None
    used = x * 1.0
    assert gradients(used, [y]) == [None]
    assert kinds([gradients(ops.tanh(x) * y, [y])[0]]).count("TanhGrad") == 0


def test_gradient_of_an_intermediate_value():
    x = leaf(4)
    value = RNG.rand(4).astype(np.float32)
    h = ops.tanh(x)
    y = ops.square(h)
    gh, gx = gradients(y, [h, x])
    got = evaluate([gh, gx], {x: value})
    t = np.tanh(value.astype(np.float64))
    np.testing.assert_allclose(got[0], 2 * t, rtol=1e-5)
    np.testing.assert_allclose(got[1], 2 * t * (1 - t**2), rtol=1e-5, atol=1e-7)


def test_seed_weights_the_outputs():
    x, seed = leaf(3), leaf(3)
    value, weight = RNG.rand(2, 3).astype(np.float32)
    (g,) = gradients(ops.square(x), [x], seed=seed)
    got = evaluate([g], {x: value, seed: weight})[0]
    np.testing.assert_allclose(got, 2 * value * weight, rtol=1e-6)


def test_a_gradient_of_the_wrong_shape_is_refused():
    class Bad(Op):
        def gradient(self, dy):
            return [ops.full((7,), 1.0)]

    x = leaf(3)
    with pytest.raises(ValueError, match=r"Bad: gradient of shape \(7,\) for an input of shape"):
        gradients(Bad(x).output, [x])


# -- operations ----------------------------------------------------------------------------------


def test_operations_say_what_they_lack():
    class Lazy(Op):
        pass

    op = Lazy(leaf(2))
    assert op.output.shape == (2,) and op.shares() == []
    with pytest.raises(ValueError, match="Lazy has no gradient"):
        op.gradient(None)
    with pytest.raises(ValueError, match="Lazy has no kernels"):
        op.rows()
    again = op.rebuild([leaf(3)])
    assert again.output.shape == (3,)


def test_operations_register_under_their_name():
    class Passing(Op):
        pass

    try:
        assert register(Passing) is Passing and OPS["Passing"] is Passing
    finally:
        del OPS["Passing"]


# -- passes --------------------------------------------------------------------------------------


def network(layers, shape, training=False):
    """Output of layers, its leaves with random values, as (output, feeds)."""
    rng = np.random.RandomState(3)
    built = Network([(f"l{k}", layer) for k, layer in enumerate(layers)], shape[1:])
    x = leaf(*shape)
    output, trace = built.trace(x, training)
    feeds = {x: rng.randn(*shape).astype(np.float32)}
    for spec in built.parameters:
        feeds[trace.leaf(spec)] = (rng.rand(*spec.shape) + 0.1).astype(np.float32) - 0.4 * (
            not spec.name.endswith("var")
        )
    return output, feeds


FUSED = [
    ([Dense(9, "relu")], (4, 7), ["Dense"]),
    ([Conv2D(5, 3, "relu")], (2, 6, 6, 3), ["Conv2D"]),
    ([Dense(9, "relu6")], (4, 7), ["Dense"]),
    ([Conv2D(5, 3), BatchNorm("relu6")], (2, 6, 6, 3), ["Conv2D"]),
    ([Conv2D(3, 3, "relu6", groups=3)], (2, 6, 6, 3), ["DepthwiseConv2D"]),
    ([Conv2D(3, 3, "relu"), Activation("relu6")], (2, 6, 6, 3), ["Conv2D", "Clip"]),
    ([Conv2D(3, 3, "relu", groups=3)], (2, 6, 6, 3), ["DepthwiseConv2D"]),
    ([Residual([Dense(7)], activation="relu")], (4, 7), ["Dense"]),
    ([Residual([Conv2D(3, 3, padding="same")])], (2, 6, 6, 3), ["Conv2D"]),
    ([Conv2D(5, 3), BatchNorm("relu")], (2, 6, 6, 3), ["Conv2D"]),
    ([Dense(5, use_bias=False), BatchNorm()], (4, 7), ["Dense"]),
    (
        [Residual([Conv2D(3, 3, padding="same"), BatchNorm()], activation="relu")],
        (2, 6, 6, 3),
        ["Conv2D"],
    ),
    ([Dense(6, "gelu")], (4, 7), ["Dense"]),
    ([Dense(6, "quick_gelu")], (4, 7), ["Dense"]),
    (
        [Residual([Dense(6, "gelu", flatten=False), Dense(4, flatten=False)])],
        (2, 3, 4),
        ["Dense", "Dense"],
    ),
    ([Conv2D(5, 3, "gelu")], (2, 6, 6, 3), ["Conv2D", "Gelu"]),
    ([Dense(6), LayerScale(0.3)], (4, 7), ["Dense"]),
    ([Conv2D(5, 3, use_bias=False), LayerScale(0.3, "relu")], (2, 6, 6, 3), ["Conv2D"]),
    ([Conv2D(6, 3, groups=6), LayerScale(0.3)], (2, 6, 6, 6), ["DepthwiseConv2D"]),
    ([Residual([Dense(7, "tanh"), Dense(7), LayerScale(0.3)])], (4, 7), ["Dense", "Tanh", "Dense"]),
    ([Dense(6, "relu"), LayerScale(0.3)], (4, 7), ["Dense", "Multiply"]),
    ([Dense(6, "tanh"), Dense(4, "relu")], (4, 7), ["Dense", "Tanh", "Dense"]),
    ([Conv2D(5, 3, "relu"), BatchNorm()], (2, 6, 6, 3), ["Conv2D", "BatchNorm"]),
]


@pytest.mark.parametrize("layers,shape,left", FUSED, ids=lambda v: str(v)[:50])
def test_passes_leave_few_operations_and_the_same_result(layers, shape, left):
    output, feeds = network(layers, shape)
    optimized = optimize([output], training=False)
    assert optimized[0].shape == output.shape
    dynamic, places, _ = split_static(optimized)
    assert kinds(dynamic) == left
    got, expected = evaluate([optimized[0], output], feeds)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert all(name == "static" for name, _ in places.values())


def test_training_does_not_fold_batch_norm():
    output, _ = network([Conv2D(5, 3), BatchNorm(trainable=False)], (2, 6, 6, 3), training=True)
    assert "BatchNorm" in kinds(optimize([output], training=True))


@pytest.mark.parametrize("n, c, f, plain", [(64, 9, 40, True), (65, 9, 40, False),
                                            (4, 513, 128, False)])  # fmt: skip
def test_training_packs_weights_only_where_it_pays(n, c, f, plain):
    x, w = leaf(n, c), leaf(c, f)
    values = {x: RNG.randn(n, c).astype(np.float32), w: RNG.randn(c, f).astype(np.float32)}
    output = ops.relu(ops.dense(x, w))
    optimized = optimize([output], training=True)
    assert kinds(optimized) == (["Dense"] if plain else ["PackDense", "Dense"])
    got, expected = evaluate([optimized[0], output], values)
    np.testing.assert_array_equal(got, expected)
    assert "PackDense" in kinds(optimize([output], training=False))


def test_what_others_read_is_not_fused():
    x, w = leaf(4, 7), leaf(7, 7)
    h = ops.dense(x, w)
    outputs = [ops.relu(h), h + x, h]
    values = {x: RNG.randn(4, 7).astype(np.float32), w: RNG.randn(7, 7).astype(np.float32)}
    optimized = optimize(outputs, training=False)
    assert {"Relu", "Add"} <= set(kinds(optimized))
    for got, expected in zip(evaluate(optimized, values), evaluate(outputs, values)):
        np.testing.assert_array_equal(got, expected)


def test_a_sum_with_a_number_is_left_alone():
    x, w = leaf(4, 7), leaf(7, 7)
    values = {x: RNG.randn(4, 7).astype(np.float32), w: RNG.randn(7, 7).astype(np.float32)}
    output = 1.5 + ops.dense(x, w)
    optimized = optimize([output], training=False)
    got, expected = evaluate([optimized[0], output], values)
    np.testing.assert_array_equal(got, expected)


def test_rewrite_keeps_what_no_rule_wants():
    x = leaf(3)
    y = ops.tanh(ops.relu(x))
    assert rewrite([y, x], lambda op, inputs, uses: None) == [y, x]

    def no_relu(op, inputs, uses):
        return (inputs[0],) if type(op).__name__ == "Relu" else None

    assert kinds(rewrite([y], no_relu)) == ["Tanh"]


def test_split_static_computes_weights_beforehand():
    x = leaf(2, 3)
    w = Tensor((3, 3), role="parameter")
    y = ops.dense(ops.tanh(x), ops.tanh(w) * 2.0)
    dynamic, places, size = split_static([y])
    assert set(kinds(dynamic)) == {"Tanh", "Dense"} and kinds(dynamic).count("Tanh") == 1
    assert {"Tanh", "Multiply"} <= set(kinds(list(places)))
    ends = sorted((offset, offset + t.size) for t, (_, offset) in places.items())
    assert all(a[1] <= b[0] for a, b in zip(ends, ends[1:])) and ends[-1][1] <= size


# -- memory --------------------------------------------------------------------------------------


@st.composite
def graphs(draw):
    """Outputs of a random graph of sums, slices, joins and reshapes, of one leaf."""
    x = leaf(draw(st.integers(1, 40)), 3)
    tensors = [x]
    for _ in range(draw(st.integers(1, 25))):
        t = tensors[draw(st.integers(0, len(tensors) - 1))]
        choice = draw(st.integers(0, 4))
        if choice == 0:
            same = [u for u in tensors if u.shape == t.shape]
            t = t + same[draw(st.integers(0, len(same) - 1))]
        elif choice == 1:
            t = ops.concatenate([t, ops.tanh(t)], axis=0) if t.size < 400 else ops.negative(t)
        elif choice == 2:
            t = ops.reshape(t, (t.shape[1], t.shape[0]) if t.ndim == 2 else t.shape)
        elif choice == 3:
            t = ops.slice_axis(t, 0, 0, max(1, t.shape[0] // 2))
        else:
            t = ops.tanh(t)
        tensors.append(t)
    outputs = [t for t in tensors if t.op is not None][-draw(st.integers(1, 3)) :]
    return x, outputs


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_tensors_alive_together_do_not_overlap(graph):
    x, outputs = graph
    order = topological(outputs)
    root = storage(order)

    def storage_root(t):
        return root(t)[0]

    offsets, size, peak = plan_arena(order, outputs, root, {})
    last = {}
    for k, op in enumerate(order):
        for t in (*op.inputs, *op.outputs):
            if t is not None:
                last[id(storage_root(t))] = k
    for t in outputs:
        last[id(storage_root(t))] = len(order)
    blocks = [
        (k, last[id(t)], offsets[id(t)], offsets[id(t)] + t.size)
        for k, op in enumerate(order)
        for t in op.outputs
        if storage_root(t) is t
    ]
    for n, (born, dead, begin, end) in enumerate(blocks):
        assert begin % 16 == 0 and end <= size - SLACK
        for other_born, other_dead, other_begin, other_end in blocks[:n]:
            together = born <= other_dead and other_born <= dead
            assert not together or end <= other_begin or other_end <= begin
    assert peak <= size - SLACK or not blocks
    value = np.random.RandomState(0).randn(*x.shape).astype(np.float32)
    evaluate(outputs, {x: value})  # compares with a plan that shares nothing


def test_memory_is_reused():
    y = leaf(1000)
    for _ in range(50):
        y = ops.tanh(y)
    program = compile_program([y])
    assert program.arena_size < 3 * 1024
    assert program.live_peak <= program.arena_size


def test_outputs_stay_alive():
    x = leaf(100)
    ys = [ops.tanh(x)]
    for _ in range(5):
        ys.append(ops.tanh(ys[-1]))
    program = compile_program(ys)
    assert len({program.place(y) for y in ys}) == 6


# -- programs ------------------------------------------------------------------------------------


class Row1(Op):
    """An operation whose single row is given."""

    def rows(self):
        return [self.row]


def test_programs_refuse_what_they_cannot_hold():
    with pytest.raises(ValueError, match="no kernel is named 'nothing'"):
        compile_program([Row1(leaf(2), row=Row("nothing", [])).output])
    with pytest.raises(ValueError, match="more than 44 operands"):
        compile_program([Row1(leaf(2), row=Row("copy", list(range(45)))).output])
    x = leaf(2, 3)
    view = ops.reshape(x, (6,))
    with pytest.raises(ValueError, match="shares another tensor's memory"):
        compile_program([view], pinned={view: ("out", 0)})
    with pytest.raises(ValueError, match="fed with an array of shape"):
        evaluate([ops.tanh(x)], {x: np.zeros((3, 2))})


def test_programs_can_be_moved():
    x = leaf(4)
    program = compile_program([ops.tanh(x) * 3.0])

    class Device:
        """Gives kernels made-up addresses."""

        def handles(self, names):
            return dict.fromkeys(names, 7)

    names = program.memories[1:]
    tables = [
        program.bind(Device(), {name: base + 1000 * k for k, name in enumerate(names)})
        for base in (0, 10**6)
    ]
    moved = tables[1] - tables[0]
    assert set(np.unique(moved)) == {0, 10**6}
    np.testing.assert_array_equal(moved[:, 4:] != 0, program.memory_of != 0)
    assert (tables[0][:, 0] == 7).all()


def test_views_cost_nothing():
    x = leaf(2, 6)
    y = ops.reshape(ops.flatten(x), (3, 4))
    assert compile_program([y]).kernels == []
    value = np.arange(12, dtype=np.float32).reshape(2, 6)
    np.testing.assert_array_equal(evaluate([y], {x: value})[0], value.reshape(3, 4))


def test_every_registered_operation_has_a_name_words_and_rows():
    assert all(issubclass(op, Op) for op in OPS.values())
    for name, op in OPS.items():
        assert op.__name__ == name and op.__doc__, name
        assert op.rows is not Op.rows or op.alias is not Op.alias, name
