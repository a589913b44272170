"""What this library uses of Keras that has no public name: a failure here names what another release has moved."""

import ast
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import keras_dsr
from keras_dsr.backend import keras_exporting, keras_graph, keras_layers, keras_slots, keras_training
from keras_dsr.backend.keras_wrapping_optimizer import WrappingOptimizer

LIBRARY = Path(keras_dsr.__file__).parent


def dense() -> layers.Dense:
    layer = layers.Dense(3, name="dense")
    layer.build((None, 2))
    return layer


def attention() -> layers.GroupQueryAttention:
    layer = layers.GroupQueryAttention(4, 2, 1, use_gate=True)
    layer.build((None, 5, 8), (None, 5, 8))
    return layer


def compiled() -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3)])
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(np.zeros((2, 2)), np.zeros((2, 3)), verbose=0)
    return model


def adam() -> keras.optimizers.Optimizer:
    return compiled().optimizer


def averaging() -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.SGD(use_ema=True)
    optimizer.build(dense().trainable_variables)
    return optimizer


def symbolic() -> keras.KerasTensor:
    return layers.Embedding(3, 2, mask_zero=True)(keras.Input((4,)))


# Of whom, made how, the attributes, and where in `backend/` they are used.
PARTS = [
    (dense, ["_tracker", "_trainable_variables", "_layers", "_kernel"], "keras_layers"),
    (dense, ["_open_name_scope", "_track_variable", "_post_track_variable", "_post_untrack_variable"], "keras_layers"),
    (lambda: dense()._tracker, ["lock", "unlock", "untrack", "add_to_store", "replace_tracked_value"], "keras_layers"),
    (attention, list(keras_layers.ATTENTION_PROJECTIONS.values()), "keras_layers"),
    (dense, ["_check_quantize_args"], "keras_variants"),
    (compiled, ["_compile_config", "_compile_metrics", "_compile_loss"], "keras_training"),
    (lambda: compiled()._compile_metrics.metrics[0], ["_direction"], "keras_training"),
    (compiled, ["train_function", "test_function", "predict_function"], "keras_training"),
    (adam, ["_trainable_variables", "_iterations"], "keras_slots"),
    (
        adam,
        ["_trainable_variables_indices", "_var_key", "_variables"],
        "keras_wrapping_optimizer",
    ),
    (averaging, ["_model_variables_moving_average"], "keras_wrapping_optimizer"),
    (symbolic, ["_keras_history", "_keras_mask"], "keras_graph"),
]


@pytest.mark.parametrize(("make", "names", "module"), PARTS, ids=lambda value: value if isinstance(value, str) else "")
def test_keras_has_what_is_used_of_it(make, names, module):
    owner = make()
    lacking = [name for name in names if not hasattr(owner, name)]
    assert not lacking, f"{type(owner).__name__} has no {lacking[0]!r} any more: mend keras_dsr/backend/{module}.py"
    text = (LIBRARY / "backend" / f"{module}.py").read_text()
    unused = [name for name in names if name not in text and not name.endswith("_function")]
    assert not unused, f"keras_dsr/backend/{module}.py does not use {unused}: this test is not needed for it"


@pytest.mark.backends("jax")
def test_keras_has_what_is_used_of_it_on_jax():
    model = compiled()
    assert hasattr(model, "_jax_state"), "Model has no '_jax_state' any more: mend keras_dsr/backend/keras_training.py"
    assert hasattr(model.variables[0], "_value"), "Variable has no '_value' any more: mend keras_slots.py"


@pytest.mark.backends("tensorflow")
def test_keras_has_what_is_used_of_it_on_tensorflow():
    from keras.src.export import export_utils

    assert hasattr(keras.export.ExportArchive(), "_tf_trackable"), "mend keras_dsr/backend/keras_export.py"
    for name in ("get_input_signature", "make_tf_tensor_spec"):
        assert hasattr(export_utils, name), f"export_utils has no {name!r} any more: mend backend/keras_export.py"
    assert hasattr(dense(), "_tracked"), "Layer has no '_tracked' any more: mend keras_layers.remove_attributes"


# What they do


def test_a_layer_tracks_and_forgets_variables():
    layer = dense()
    extra = keras.Variable(np.ones(2), trainable=False, name="extra")
    with keras_layers.unlocked(layer):
        keras_layers.track_not_trainable(layer, [extra])
    assert layer.non_trainable_variables == [extra]
    with keras_layers.unlocked(layer):
        keras_layers.untrack(layer, [extra])
    assert layer.variables == [layer.kernel, layer.bias]
    with pytest.raises(ValueError, match="cannot add new elements"):
        keras_layers.track_not_trainable(layer, [extra])  # locked again


def test_a_layers_own_variables_are_those_that_it_trains_frozen_or_not():
    model = keras.Sequential([layer := dense()])
    layer.trainable = False
    assert keras_layers.own_trainable_variables(layer) == [layer.kernel, layer.bias]
    assert keras_layers.own_trainable_variables(model) == []
    assert keras_layers.kernel_of(layer) is layer.kernel


def test_fans_are_those_of_initializers():
    assert keras_layers.fans((3, 3, 4, 5)) == (36, 45)


def test_a_compiled_model_says_what_its_metrics_and_losses_are():
    model = compiled()
    assert keras_training.metric_directions(model) == {"mae": "down"}
    assert keras_training.loss_names(model) == []
    own = model.optimizer
    with keras_training.another_optimizer(model, other := keras.optimizers.SGD()):
        assert model.optimizer is other
        assert model.get_compile_config()["optimizer"]["class_name"] == "SGD"
    assert model.optimizer is own
    assert model.get_compile_config()["optimizer"]["class_name"] == "Adam"


def test_a_symbolic_tensor_says_where_it_comes_from():
    tensor = symbolic()
    assert isinstance(keras_graph.made_by(tensor), layers.Embedding)
    assert keras_graph.has_mask(tensor)
    assert not keras_graph.has_mask(keras.Input((3,)))
    assert keras_graph.is_own_operation(keras_graph.made_by(keras.ops.relu(tensor)))
    assert not keras_graph.is_own_operation(keras_graph.made_by(tensor))


def test_every_variable_of_an_optimizer_is_a_slot_or_a_number_of_its_own():
    # Slots are what stands at a variable's index in lists: one that Keras kept otherwise would silently not be found.
    model = compiled()
    variables = [*model.trainable_variables]
    found = [slot.variable for variable in variables for slot in keras_slots.optimizer_slots(model.optimizer, variable)]
    others = [one for one in model.optimizer.variables if all(one is not slot for slot in found)]
    assert len(found) == 2 * len(variables)
    assert {one.name for one in others} == {"iteration", "learning_rate"}


def test_an_optimizer_that_wraps_is_built_as_keras_builds_one():
    variables = [keras.Variable(np.ones(2), name="weight")]
    wrapping, stock = WrappingOptimizer(keras.optimizers.SGD(0.5)), keras.optimizers.SGD(0.5)
    wrapping.inner_optimizer.build(variables)
    wrapping._mark_built(variables)
    stock.build(variables)
    assert (wrapping.built, wrapping._built_for) == (stock.built, variables)


# Nowhere else


def own_names() -> set[str]:
    """The private names that the library itself defines."""
    names = {"_replace", "_fields", "_asdict", "_make", "_field_defaults"}  # of NamedTuple, which has them for all
    for path in LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                names |= {node.attr} if is_own else set()
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return names


@pytest.mark.backends("torch")  # it reads text
def test_nothing_outside_the_backend_folder_touches_them():
    own, found = own_names(), []
    for path in LIBRARY.rglob("*.py"):
        if path.parent.name == "backend":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.attr if isinstance(node, ast.Attribute) else ""
            if name.startswith("_") and not name.startswith("__") and name not in own:
                found.append(f"{path.relative_to(LIBRARY)}:{node.lineno} {name}")
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if module.startswith("keras.src"):
                found.append(f"{path.relative_to(LIBRARY)}:{node.lineno} {module}")
    assert not found, "\n".join(found)


@pytest.mark.backends("tensorflow", "jax")
def test_it_is_known_when_keras_writes_a_model_for_others(tmp_path):
    seen = []

    class Recording(layers.Layer):
        def call(self, inputs):
            seen.append(keras_exporting.is_exporting())
            return inputs

    model = keras.Sequential([keras.Input((2,)), Recording()])
    model.predict(np.zeros((1, 2)), verbose=0)
    assert seen and not any(seen), "backend/keras_exporting.py: Keras's predict looks like its export"
    seen.clear()
    model.export(tmp_path / "model", verbose=False)
    assert any(seen), "backend/keras_exporting.py: Keras's export is in no module of keras.src.export any more"
