"""Every public name is given what it was not made for: it says at once which argument that was, and changes nothing.

A new public name, or a new argument, is swept too: a name that is not in `SWEPT` fails, and so does a value that is
taken though `TAKEN` does not say so.
"""

import contextlib
import inspect
import io
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.analysis.sensitivity_report import Sensitivity, SensitivityRow
from keras_dsr.backend.keras_layers import walk
from keras_dsr.weights.compact_weight import CompactWeight
from keras_dsr.weights.reallocation import Reallocation
from keras_dsr.weights.sparse_weight import SparseWeight
from tests.helpers.layer_kinds import KINDS, model_of
from tests.helpers.values_to_try import values_to_try

INPUTS, CLASSES = np.ones((4, 6), "float32"), np.array([0, 1, 2, 0])


def compiled(*layers, optimizer="sgd") -> keras.Model:
    model = keras.Sequential([keras.Input((6,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)
    return model


def dense_network() -> keras.Model:
    return compiled(keras.layers.Dense(5, name="hidden"), keras.layers.Dense(3, name="classes"))


def sparse_network(**settings) -> keras.Model:
    settings = {"sparsity": 0.5, "mask_seed": 1, "name": "hidden", **settings}
    return compiled(dsr.SparseDense(5, **settings), keras.layers.Dense(3, name="classes"))


def built_optimizer() -> dsr.SparseOptimizer:
    optimizer = dsr.SparseOptimizer("sgd", sparsity=0.5, seed=1)
    optimizer.build(dense_network().trainable_variables)
    return optimizer


def measured() -> Sensitivity:
    return Sensitivity("accuracy", "max", 1.0, (0.5, 0.9), (SensitivityRow("a/kernel", (4, 5), (0.9, 0.5)),))


class Swept(NamedTuple):
    """A public function, class or method.

    Attributes:
        call: it, called with arguments by name.
        valid: makes arguments with which it can be called, new ones each time.
        arguments: the names of all that it has; None: those of its signature.
        backends: where it can be called so; empty: everywhere.
    """

    call: Callable
    valid: Callable[[], dict[str, Any]] = dict
    arguments: tuple[str, ...] | None = None
    backends: tuple[str, ...] = ()


def reallocating(method: type) -> Swept:
    """A method must also be able to do with what it takes: one reallocation."""

    def call(**given):
        made = method(**given)
        model = sparse_network()
        if made.gradient_decay is not None and made.pruned_training is not None:
            reallocation = Reallocation(model, made)
            model.train_on_batch(np.ones((4, *model.input_shape[1:])), np.ones(4))
            reallocation()
            return
        if made.gradient_decay is not None:
            settings = {"pattern": "fan_in"} if given.get("min_salient") is not None else {}
            optimizer = dsr.SparseOptimizer("sgd", sparsity=0.5, seed=1, **settings)
            model = compiled(keras.layers.Dense(5), optimizer=optimizer)
        Reallocation(model, made)()

    return Swept(call, arguments=tuple(inspect.signature(method).parameters))


def building(kind: str, **settings) -> Swept:
    """A layer must also be built with what it takes."""
    sparse_class, shared, _ = KINDS[kind]

    def call(**given):
        layer = sparse_class(**shared, **given)
        if given.get("storage") != "auto":  # which takes a while to choose
            model_of(kind, layer)

    return Swept(call, lambda: {"mask_seed": 1, **settings}, arguments=own_arguments(sparse_class))


def own_arguments(layer_class: type) -> tuple[str, ...]:
    """The arguments of a layer that its stock class does not have."""
    classes = [cls for cls in layer_class.__mro__ if cls.__module__.startswith("keras_dsr") and "__init__" in vars(cls)]
    ours = [parameter for cls in classes for parameter in inspect.signature(cls.__init__).parameters.values()]
    names = [one.name for one in ours if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    stock = {"self", *inspect.signature(layer_class.stock_class.__init__).parameters}
    return tuple(dict.fromkeys(name for name in names if name not in stock))


def tied(layer_class: type, shape: tuple[int, ...], **shared) -> Swept:
    call = lambda **given: layer_class(**shared, **given).build((None, *shape))  # noqa: E731
    return Swept(call, arguments=own_arguments(layer_class))


SWEPT = {
    "sparsify": Swept(dsr.sparsify, lambda: {"model": dense_network()}),
    "sparsify, compact": Swept(dsr.sparsify, lambda: {"model": dense_network(), "storage": "compact"}),
    "sparsify, auto": Swept(dsr.sparsify, lambda: {"model": dense_network(), "storage": "auto"}, ("batch_size",)),
    "densify": Swept(dsr.densify, lambda: {"model": sparse_network()}),
    "strip": Swept(dsr.strip, lambda: {"model": sparse_network()}),
    "summary": Swept(dsr.summary, lambda: {"model": sparse_network()}),
    "sparse_weights": Swept(dsr.sparse_weights, lambda: {"model": sparse_network()}),
    "shrink": Swept(dsr.shrink, lambda: {"model": sparse_network()}),
    "save": Swept(dsr.save, lambda: {"model": sparse_network(), "path": "model.keras"}),
    "export": Swept(dsr.export, lambda: {"model": sparse_network(), "path": "exported"}, backends=("tensorflow",)),
    "report": Swept(
        dsr.report, lambda: {"model": sparse_network(), "path": "report.html", "batch_sizes": (), "masks": ()}
    ),
    "sensitivity": Swept(
        dsr.sensitivity,
        lambda: {"model": dense_network(), "data": (INPUTS, CLASSES), "sparsities": [0.5], "verbose": 0},
    ),
    "masks_at_initialization": Swept(
        dsr.masks_at_initialization, lambda: {"model": dense_network(), "data": (INPUTS, CLASSES), "sparsity": 0.5}
    ),
    "Reallocate": Swept(dsr.Reallocate, lambda: {"method": dsr.methods.Static()}),
    "Reallocate, every step": Swept(dsr.Reallocate, lambda: {"method": dsr.methods.DeepR()}, ("period",)),
    "DSRCallback": Swept(dsr.DSRCallback),
    "Reallocator": Swept(dsr.Reallocator, lambda: {"model": sparse_network(), "method": dsr.methods.Static()}),
    "DSDCallback": Swept(
        dsr.DSDCallback,
        lambda: {"dense_epochs": 1, "sparse_epochs": 1},
        tuple(name for name in inspect.signature(dsr.DSDCallback).parameters if not name.endswith("_steps")),
    ),
    "DSDCallback, by step": Swept(
        dsr.DSDCallback, lambda: {"dense_steps": 1, "sparse_steps": 1}, ("dense_steps", "sparse_steps")
    ),
    "SparseOptimizer": Swept(
        lambda **given: dsr.SparseOptimizer(**given).build(dense_network().trainable_variables),
        lambda: {"inner_optimizer": "sgd"},
        tuple(name for name in inspect.signature(dsr.SparseOptimizer).parameters if name != "settings"),
    ),
    "SparseOptimizer.add_state": Swept(
        lambda optimizer, **given: optimizer.add_state(**given),
        lambda: {"optimizer": built_optimizer(), "name": "signs", "dtype": "int8"},
        ("name", "dtype"),
    ),
    "SparseOptimizer.remember_gradients": Swept(
        lambda optimizer, **given: optimizer.remember_gradients(**given),
        lambda: {"optimizer": built_optimizer(), "decay": 0.5},
        ("decay",),
    ),
    "SparseWeight.set_mask": Swept(
        lambda **given: dsr.sparse_weights(sparse_network())[0].set_mask(**given),
        lambda: {"mask": np.ones((6, 5), bool)},
        ("mask",),
    ),
    "SparseWeight.units_at": Swept(
        lambda **given: dsr.sparse_weights(sparse_network())[0].units_at(**given),
        lambda: {"sparsity": 0.9},
        ("sparsity",),
    ),
    "SparseWeight.add_state": Swept(
        lambda **given: dsr.sparse_weights(sparse_network())[0].add_state(**given),
        lambda: {"name": "signs", "dtype": "int8"},
        ("name", "dtype"),
    ),
    "CompactWeight.units_at": Swept(
        lambda **given: dsr.sparse_weights(sparse_network(sparsity=0.9, storage="compact"))[0].units_at(**given),
        lambda: {"sparsity": 0.9},
        ("sparsity",),
    ),
    "CompactWeight.add_state": Swept(
        lambda **given: dsr.sparse_weights(sparse_network(sparsity=0.9, storage="compact"))[0].add_state(**given),
        lambda: {"name": "signs", "dtype": "int8"},
        ("name", "dtype"),
    ),
    "Sensitivity.choose": Swept(lambda **given: measured().choose(**given), dict, ("max_drop", "total")),
    "Sensitivity.plot": Swept(lambda **given: measured().plot(**given), dict, ("path",)),
    "schedules.piecewise": Swept(dsr.schedules.piecewise, lambda: {"pairs": [(0, 1)]}),
    "schedules.constant": Swept(dsr.schedules.constant, lambda: {"value": 1}),
    "schedules.by_step": Swept(
        lambda **given: dsr.schedules.by_step(**given)(keras.ops.convert_to_tensor(3, "int32")),
        lambda: {"value": 1},
        ("value",),
    ),
    "TiedDense": tied(dsr.TiedDense, (6,), units=3),
    "TiedConv2D": tied(dsr.TiedConv2D, (4, 4, 2), filters=3, kernel_size=3),
}
CONTRACT = ("Decision", "Grown", "Method", "MethodInputs", "PrunedTraining")
METHODS = [name for name in dsr.methods.__all__ if name[0].isupper() and name not in CONTRACT]
SWEPT |= {f"methods.{name}": reallocating(getattr(dsr.methods, name)) for name in METHODS}
PLAN = {"method": dsr.methods.SET(), "density": dsr.schedules.linear(0.5, 0.3, 9)}
SWEPT["methods.DensitySchedule"] = SWEPT["methods.DensitySchedule"]._replace(valid=lambda: {**PLAN})
CURVE = {"start": 0.5, "end": 0.1, "steps": 9}
SWEPT |= {
    f"schedules.{name}": Swept(getattr(dsr.schedules, name), lambda: {**CURVE})
    for name in ("linear", "cosine", "cubic", "exponential")
}
SWEPT["schedules.cycles"] = Swept(dsr.schedules.cycles, lambda: {"schedule": PLAN["density"]})
LAYERS = ["TiedDense", "TiedConv2D", *(KINDS[kind].sparse_class.__name__ for kind in KINDS)]
SWEPT |= {KINDS[kind].sparse_class.__name__: building(kind) for kind in KINDS}
SWEPT |= {
    f"{KINDS[kind].sparse_class.__name__}, {storage}": building(kind, storage=storage, sparsity=0.9)
    for kind in ("dense", "einsum")
    for storage in ("compact", "auto")
}

NOT_SWEPT = {
    **{
        f"methods.{name}": "for methods: what they are given, decide and call"
        for name in dsr.methods.__all__
        if name not in METHODS
    },
    "semi_structured": "needs a GPU: its own test has what it refuses",
    "pointwise_convolutions": "functions that choose weights call it, with a variable",
    "SparseWeight.initial_values": "methods call it, with a StepSeed",
    "CompactWeight.initial_values": "methods call it, with a StepSeed",
    "CompactWeight.set_mask": "refuses every mask",
    **{
        f"SparseOptimizer.{name}": "Keras or keras_dsr calls it"
        for name in (
            *("apply", "build", "from_config", "save_own_variables", "load_own_variables"),
            *("finalize_variable_values", "would_hold", "follow_weights", "check_budget"),
        )
    },
}

# The labels of values that are good ones: by argument, or by name and argument where one differs.
SHARES, FLAGS, POSITIVE = {"0", "0.5", "1e-320"}, {"True", "False"}, {"1", "7", "0.5", "1.5", "1e-320"}
COUNTS, LISTS = {"1", "7"}, {"empty list", "empty tuple"}
HUGE, NONE = {"10**400"}, {"None"}
SEEDS = {"0", "1", "7"} | HUGE | NONE
FIRST_THRESHOLDS = {"1", "7", "0.5", "1.5"}  # 1e-320 is 0 in float32
SELECTORS = LISTS | {"class of layers", "function"}
UNSEEN_SELECTORS = SELECTORS | {  # what they name is not known before training begins
    *("empty string", "string", "expression", "null", "list of strings", "array of strings"),
    *("unbuilt layer", "unbuilt model", "another model"),
}
TAKEN = {
    "batch_size": COUNTS | NONE,
    "batch_sizes": NONE | LISTS | {"[7]"},
    "begin_step": COUNTS | {"0"},
    "budget": COUNTS | {"0.5", "1e-320"},
    "backward_sparsity": SHARES,
    "capacity": NONE,
    "cut_first_convolution": FLAGS,
    "decay": SHARES,
    "log_layers": FLAGS,
    "dense_epochs": COUNTS | HUGE | {"0", "[7]"},
    "dense_steps": COUNTS | HUGE | {"0", "[7]"},
    "distribution": {"empty dict"},
    "dtype": NONE,
    "end_step": COUNTS,
    "exclude": SELECTORS,
    "final_learning_rate_factor": POSITIVE,
    "final_sparsity": SHARES,
    "fraction": SHARES - {"0"},
    "gradient_decay": SHARES | NONE,
    "gradient_weight": POSITIVE | {"0"},
    "history": NONE,
    "include": SELECTORS,
    "initial_sparsity": SHARES,
    "initial_threshold": FIRST_THRESHOLDS,
    "input_signature": NONE,
    "l1": POSITIVE | {"0"},
    "learning_rate": POSITIVE | {"0"} | NONE,
    "mask_seed": SEEDS,
    "masks": NONE | SELECTORS,
    "max_drop": POSITIVE | {"0"},
    "method": {"method"},
    "method_state": NONE | {"empty dict"},
    "metric": NONE,
    "min_salient": (SHARES - {"0"}) | NONE,
    "mode": set(),
    "model": {"another model"},
    "momentum": SHARES,
    "name": {"string"},
    "packed": FLAGS | NONE,
    "period": COUNTS | HUGE | NONE | {"function"},
    "phase": COUNTS,
    "power": POSITIVE,
    "relative_to_output": FLAGS,
    "resumable": FLAGS,
    "rounds": COUNTS,
    "seed": SEEDS,
    "select": NONE | {"class of layers", "function"},
    "signed": FLAGS,
    "soft_bound": FLAGS,
    "sparse_epochs": COUNTS | HUGE | {"[7]"},
    "sparse_learning_rate_factor": POSITIVE,
    "sparse_steps": COUNTS | HUGE | {"[7]"},
    "sparsities": {"array"},
    "sparsity": SHARES | {"empty dict"},
    "state": NONE | {"empty dict"},
    "steps": COUNTS | NONE,
    "stop_at": COUNTS | HUGE | {"0"} | NONE,
    "target": COUNTS | SHARES - {"0"},
    "temperature": POSITIVE | {"0", "function"},
    "tolerance": SHARES,
    "total": SHARES,
    "value": POSITIVE | {"0", "-1", "-0.5"},
    "warm_up": FLAGS,
    "verbose": FLAGS | {"0", "1"},
    "CompactWeight.add_state.dtype": set(),
    "CompactWeight.units_at.sparsity": SHARES,
    "masks_at_initialization.exclude": LISTS,
    "masks_at_initialization.method": set(),
    "masks_at_initialization.model": set(),
    "masks_at_initialization.sparsity": SHARES,
    "methods.ACDC.end_step": set(),
    "methods.ACDC.sparsity": SHARES,
    "methods.StraightThrough.decay": POSITIVE | {"0"},
    "methods.TopKAST.decay": POSITIVE | {"0"},
    "DSDCallback.exclude": UNSEEN_SELECTORS,
    "DSDCallback.include": UNSEEN_SELECTORS,
    "DSDCallback.seed": SEEDS - NONE | {"-1"},
    "DSDCallback.sparsity": SHARES | {"empty dict", "function"},
    "DSRCallback.seed": SEEDS - NONE | {"-1"},
    "DSRCallback.target": COUNTS | HUGE | SHARES - {"0"},
    "Reallocate, every step.period": {"1"} | NONE,
    "Reallocate.seed": SEEDS - NONE | {"-1"},
    "Reallocator.model": set(),  # the other model has no sparse layer
    "Reallocator.period": COUNTS | HUGE,
    "Reallocator.seed": SEEDS - NONE | {"-1"},
    "Sensitivity.plot.path": NONE,
    "SparseDense, auto.capacity": COUNTS | HUGE | NONE | {"1.5"},
    "SparseDense, compact.batch_size": NONE,
    "SparseDense, compact.capacity": HUGE | NONE | {"7", "1.5"},
    "SparseDense, compact.sparsity": SHARES,
    "SparseDense.batch_size": NONE,
    "SparseEinsumDense, auto.capacity": COUNTS | HUGE | NONE | {"1.5"},
    "SparseEinsumDense, compact.batch_size": NONE,
    "SparseEinsumDense, compact.capacity": HUGE | NONE | {"7", "1.5"},
    "SparseEinsumDense, compact.sparsity": SHARES,
    "SparseEinsumDense.batch_size": NONE,
    **{f"{name}.batch_size": NONE for name in ("SparseConv1D", "SparseConv2D", "SparseConv3D")},
    "SparseOptimizer.add_state.dtype": set(),
    "SparseOptimizer.distribution": set(),
    "SparseOptimizer.name": NONE | {"empty string", "string", "expression", "null"},
    "SparseOptimizer.sparsity": SHARES,
    "SparseWeight.add_state.dtype": set(),
    "SparseWeight.units_at.sparsity": SHARES,
    "export.batch_sizes": LISTS,
    "export.path": {"string", "expression"},
    "schedules.cycles.length": NONE,
    **{
        f"schedules.{name}.{argument}": good
        for name in ("linear", "cosine", "cubic", "exponential")
        for argument, good in {
            **dict.fromkeys(("start", "end"), POSITIVE | (set() if name == "exponential" else {"0", "-1", "-0.5"})),
            "steps": COUNTS,
            "begin": COUNTS | {"0"},
        }.items()
    },
    "schedules.by_step.value": POSITIVE | {"0", "-1", "-0.5", "function"},
    "sensitivity.exclude": LISTS,
    "sensitivity.model": set(),
    "shrink.model": {"another model"},
    "sparsify, compact.batch_size": NONE,
    "sparsify, compact.capacity": HUGE | NONE | {"7", "1.5"},
    "sparsify.batch_size": NONE,
    "sparsify.sparsity": SHARES,
    "sparsify, compact.sparsity": SHARES,
}


def public_names() -> list[str]:
    names = [name for name in dsr.__all__ if name not in ("methods", "schedules")]
    return names + [f"{part}.{name}" for part in ("methods", "schedules") for name in getattr(dsr, part).__all__]


def methods_with_arguments(cls: type) -> list[str]:
    functions = [(name, value) for name, value in vars(cls).items() if not name.startswith("_")]
    functions = [(name, getattr(value, "__func__", value)) for name, value in functions]
    taking = [
        name for name, value in functions if inspect.isfunction(value) and len(inspect.signature(value).parameters) > 1
    ]
    return [f"{cls.__name__}.{name}" for name in taking]


def arguments_of(name: str) -> tuple[str, ...]:
    swept = SWEPT[name]
    return swept.arguments if swept.arguments is not None else tuple(inspect.signature(swept.call).parameters)


def every_argument() -> Iterable:
    for name, swept in SWEPT.items():
        for argument in arguments_of(name):
            marks = pytest.mark.backends(*swept.backends) if swept.backends else pytest.mark.once
            yield pytest.param(name, argument, marks=marks)


@pytest.mark.once
def test_every_public_name_is_swept():
    objects = [SparseWeight, CompactWeight, dsr.SparseOptimizer, Sensitivity]
    names = public_names() + [name for cls in objects for name in methods_with_arguments(cls)]
    missing = [name for name in names if name not in SWEPT and name not in NOT_SWEPT]
    assert not missing, f"add to SWEPT in tests/test_words.py, each with a valid call: {missing}"


def state_of(arguments: dict) -> list:
    """All that a refused call must not change in the models and optimizers that it was given."""
    state = []
    for model in arguments.values():
        if isinstance(model, keras.Model):
            state += [(layer, type(layer), layer.built) for layer, _ in walk(model)]
            variables = [*model.variables, *(model.optimizer.variables if getattr(model, "optimizer", None) else [])]
            state += [(variable.path, keras.ops.convert_to_numpy(variable).tobytes()) for variable in variables]
            state += [getattr(model, "optimizer", None), getattr(model, "train_function", None)]
        if isinstance(model, keras.optimizers.Optimizer):
            state += [(variable.path, keras.ops.convert_to_numpy(variable).tobytes()) for variable in model.variables]
    return state


def is_named(error: Exception, name: str, argument: str, value) -> bool:
    """Whether a message names the argument in call form, and says what was received."""
    owner = name.partition(",")[0].rpartition("schedules.")[2].rpartition("methods.")[2]
    if owner in LAYERS or owner == "DSRCallback":
        owner = ""  # their parts speak: SparseLSTMCell, SparseEinsumDense, CompactDense, DSR
    is_called = re.search(rf"{re.escape(owner)}\([^()]*\b{argument}=\.\.\.", str(error))
    given = [value, *keras.tree.flatten(value if not isinstance(value, (set, np.ndarray)) else list(value))]
    given += list(value) if isinstance(value, dict) else []
    received = str(error).rpartition("Received")[2]
    is_told = any(repr(one) in received for one in given) or re.search(rf"\b{type(value).__name__}\b", received)
    return bool(is_called and is_told)


def is_default(value, default) -> bool:
    return type(value) is type(default) and not isinstance(value, np.ndarray) and value == default


@pytest.mark.parametrize(("name", "argument"), list(every_argument()))
def test_what_cannot_be_is_refused_at_once_in_words(name, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    swept = SWEPT[name]
    taken = TAKEN.get(f"{name}.{argument}", TAKEN.get(argument, set()))
    parameter = inspect.signature(swept.call).parameters.get(argument)
    valid, wrong = swept.valid(), []
    before = state_of(valid)
    for label, value in values_to_try().items():
        if parameter is not None and is_default(value, parameter.default):
            continue
        value_before = state_of({argument: value})
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
                swept.call(**{**valid, argument: value})
        except (ValueError, TypeError, FileNotFoundError, FileExistsError, IsADirectoryError) as error:
            if label in taken:
                wrong.append(f"{label}: is a good value, and was refused: {error}")
            elif not is_named(error, name, argument, value):
                wrong.append(f"{label}: the message does not say so: {type(error).__name__}: {error}")
            if state_of(valid) != before or state_of({argument: value}) != value_before:
                wrong.append(f"{label}: was refused, and the model has changed")
                valid = swept.valid()
                before = state_of(valid)
            if files := os.listdir(tmp_path):
                wrong.append(f"{label}: was refused, and there is {files}")
        except Exception as error:
            wrong.append(f"{label}: {type(error).__name__}: {error}")
        else:
            if label not in taken:
                wrong.append(f"{label}: was taken")
            valid = swept.valid()
            before = state_of(valid)
            for file in tmp_path.iterdir():
                shutil.rmtree(file) if file.is_dir() else file.unlink()
    assert not wrong, "\n".join([f"{name}({argument}=...)", *wrong])
