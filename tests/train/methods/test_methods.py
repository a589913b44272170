"""Every method trains with the weights that it may have, exactly, and leaves a model of plain Keras."""

import dataclasses
import json
import zipfile

import keras
import numpy as np
import pytest
from rich.console import Console

import keras_dsr as dsr
from tests.helpers.run_folders import rows_of
from tests.helpers.runs import Interrupt, assert_same_bits
from train.data.in_memory import digits
from train.experiment.network import build_network, learning_rates
from train.experiment.settings import Settings, resolve
from train.methods import DSD, METHODS, Plan
from train.methods.pruning import compressed_sparsities
from train.recipes import RECIPES
from train.run import execute, prepare, train

SHORT = Settings(epochs=2, steps_per_epoch=36)  # DSR and SET move weights at the end of each of the two epochs,
PERIOD = {
    name: "recipe" if method.has_period else None for name, method in METHODS.items()
}  # as often as in a long run
AT_INITIALIZATION = {"snip", "grasp", "synflow"}
FIXED = {"static", *AT_INITIALIZATION}
ACROSS = {"dsr", "snfs", *AT_INITIALIZATION}  # whose layers do not all have the same sparsity
WRAPPED = {"rigl", "itop", "srigl", "snfs"}
SPARSE = {*FIXED, *ACROSS, *WRAPPED, "set", "deepr", "mest", "chts", "straight_through", "top_kast"}
TO_THE_BUDGET = {"compressed", "granet", "acdc", "movement"}
FAN_IN = [300, 600, 20]  # one of 64 inputs, six of 300 and two of 100
WIDE_RESNET = Settings(dataset="digits", recipe="wide_resnet_cifar10", depth=10)


ON_EVERY_BACKEND = ("dsr",)
ONCE = [name for name in METHODS if name not in (*ON_EVERY_BACKEND, "dsd_random")]  # which is dsd, but for its cut


@pytest.fixture(
    scope="module", params=[*ON_EVERY_BACKEND, *(pytest.param(name, marks=pytest.mark.once) for name in ONCE)]
)
def trained(request, tmp_path_factory):
    """A method, and the result of a short run by it."""
    out = tmp_path_factory.mktemp(request.param) / "run"
    epochs = 3 if METHODS[request.param].has_phases else SHORT.epochs  # one a phase
    method = request.param
    settings = dataclasses.replace(SHORT, method=method, epochs=epochs, period=PERIOD[method], out=str(out))
    return request.param, train(
        dataclasses.replace(settings, pattern="fan_in") if request.param == "srigl" else settings
    )


def active_by_epoch(folder) -> list[list[int]]:
    """The active weights of each sparse kernel, a row an epoch."""
    return [[int(value) for name, value in row.items() if name.startswith("active/")] for row in rows_of(folder)]


def test_the_weights_are_those_of_the_budget_at_every_epoch(trained):
    method, result = trained
    epochs = active_by_epoch(result.folder)
    if method in SPARSE:
        if method == "srigl":
            assert all(0.97 * most <= least <= most for epoch in epochs for least, most in zip(epoch, FAN_IN))
        else:
            assert [sum(epoch) for epoch in epochs] == [1004, 1004]
            assert method in ACROSS or epochs == [[384, 600, 20]] * 2
        prefix = "" if method in {*WRAPPED, *AT_INITIALIZATION} else "sparse_"
        names = [f"{prefix}dense{number}/kernel" for number in ("", "_1", "_2")]
        assert result.layers == tuple(zip(names, epochs[-1], LENET_SIZES))
    elif method == "compressed":
        assert epochs == [[19200, 30000, 1000], [353, 551, 100]]
    elif method in TO_THE_BUDGET:
        assert sum(epochs[-1]) == 1004 <= sum(epochs[0])
    elif METHODS[method].has_phases:
        assert epochs == [[19200, 30000, 1000], [9600, 15000, 500], [19200, 30000, 1000]]
    else:
        assert epochs == [[], []] and result.layers == () and result.changed == ()
    whole = {"dense": 50_200, "dsd": 50_200, "dsd_random": 50_200, "thin": result.weights}
    whole |= {"srigl": sum(epochs[-1])} if method == "srigl" else {}
    expected = whole.get(method, 1004)
    assert result.active_weights == expected
    assert result.weights == 50_200 or method == "thin"
    if method != "thin":
        assert result.parameters == expected + 2 * (300 + 100 + 10)  # of the batch norms


LENET_SIZES = (19_200, 30_000, 1000)


def test_the_thin_network_is_as_large_as_the_sparse_one_with_its_masks(trained):
    method, result = trained
    if method == "thin":
        assert result.parameters == pytest.approx(1004 + 820 + 50_200 / 32, rel=0.05)


def test_the_banks_of_the_hashed_network_share_the_budget():
    settings, recipe = resolve(dataclasses.replace(SHORT, method="hashed"))
    network = build_network(Plan(recipe, settings, 36, digits()))
    assert [layer.bank.shape[0] for layer in network.prunable] == [384, 600, 20]
    assert (network.active_weights(), network.weights(), network.active()) == (1004, 50_200, {})


def test_only_what_moves_weights_changes_masks(trained):
    method, result = trained
    if method in {*SPARSE, "movement"} - FIXED:
        assert max(result.changed) > 0
    elif METHODS[method].has_phases:
        assert result.changed == (0.0, 0.0, 0.0)  # it cuts and restores between epochs
    else:
        assert result.changed == ((0.0, 0.0) if method in {*FIXED, *TO_THE_BUDGET} else ())


def test_the_saved_model_is_one_of_plain_keras(trained):
    method, result = trained
    with zipfile.ZipFile(result.folder / "model.keras") as file:
        assert "keras_dsr" not in file.read("config.json").decode()
    model = keras.models.load_model(result.folder / "model.keras")
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}
    logits, labels = zip(*((model.predict(images, verbose=0), labels) for images, labels in digits().test()))
    assert np.isfinite(np.concatenate(logits)).all()
    accuracy = (np.concatenate(logits).argmax(-1) == np.concatenate(labels)).mean()
    assert accuracy == pytest.approx(result.test_score, abs=1e-6)
    kernels = [layer.kernel for layer in model.layers if type(layer) is keras.layers.Dense]
    counts = [int(np.count_nonzero(kernel)) for kernel in kernels]
    if METHODS[method].has_phases:
        assert all(np.count_nonzero(kernel) > 0.95 * np.size(kernel) for kernel in kernels)
    if method in SPARSE | TO_THE_BUDGET:
        assert all(count <= active for count, (_, active, _) in zip(counts, result.layers, strict=True))
    if method == "hashed":
        assert all(len(np.unique(kernel)) <= size for kernel, size in zip(kernels, (384, 600, 20), strict=True))


def test_the_result_is_in_its_file_as_it_was_returned(trained):
    method, result = trained
    values = json.loads((result.folder / "result.json").read_text())
    assert values["name"] == result.name and values["parameters"] == result.parameters
    assert len(values["test_scores"]) == (3 if METHODS[method].has_phases else 2)
    assert values["test_scores"][-1] == result.test_score and values["score"] == "accuracy"


@pytest.mark.once
@pytest.mark.parametrize(
    "method",
    ["deepr", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("compressed", "set", "hashed", "snfs"))],
)
def test_a_run_that_was_interrupted_ends_with_the_same_bits(method, tmp_path):
    whole, stopped = (
        dataclasses.replace(SHORT, method=method, steps_per_epoch=30, out=str(tmp_path / name))
        for name in ("whole", "stopped")
    )
    train(whole)
    with pytest.raises(KeyboardInterrupt):
        execute(prepare(stopped), Console(quiet=True), Interrupt())
    assert not (tmp_path / "stopped" / "result.json").exists() and len(rows_of(stopped.out)) == 1
    train(dataclasses.replace(stopped, resume=True))
    assert_same_bits(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.slow_on("tensorflow", "jax")
def test_deepr_acts_at_every_step_and_has_no_weight_decay(tmp_path):
    deepr = prepare(dataclasses.replace(SHORT, method="deepr", out=str(tmp_path)))
    assert deepr.network.model.steps_per_execution == 1 and deepr.network.model.losses == []
    rivals = prepare(dataclasses.replace(SHORT, method="dsr", out=str(tmp_path)))
    at_a_time = 1 if keras.backend.backend() == "torch" else 36  # Keras has no other number there
    assert rivals.network.model.steps_per_execution == at_a_time and len(rivals.network.model.losses) == 3


@pytest.mark.once
@pytest.mark.parametrize(
    "method", ["dsr", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("set", "deepr"))]
)
def test_after_stop_at_no_weights_move(method, tmp_path):
    settings = dataclasses.replace(SHORT, method=method, epochs=3, stop_at=1, out=str(tmp_path / "run"))
    settings = dataclasses.replace(settings, period=PERIOD[method])
    result = train(settings)
    assert result.name == f"{method}-0.98-stop1-seed0"
    reallocations = [int(row["dsr_reallocations"]) for row in rows_of(result.folder)]
    assert reallocations == [36 if method == "deepr" else 1, 0, 0]
    assert result.changed[1:] == (0.0, 0.0)


@pytest.mark.parametrize(
    ("sizes", "sparsity", "last_at_most", "expected"),
    [
        ([235_200, 30_000, 1000], 0.99, 0.9, [2272, 290, 100]),  # 2662 = 2352 + 300 + 10; 2562 of 265,200 are left
        ([19_200, 30_000, 1000], 0.98, 0.9, [353, 551, 100]),
        ([235_200, 30_000, 1000], 0.9, 0.9, [23_520, 3000, 100]),
        ([235_200, 30_000, 1000], 0.99, None, [2352, 300, 10]),
        ([100, 100], 0.0, 0.9, [100, 100]),
        ([1000], 0.5, None, [500]),
    ],
)
def test_the_last_kernel_is_cut_less_and_the_others_make_up_for_it(sizes, sparsity, last_at_most, expected):
    sparsities = compressed_sparsities(sizes, sparsity, last_at_most)
    assert [round((1 - value) * size) for value, size in zip(sparsities, sizes, strict=True)] == expected
    if last_at_most is not None and sparsity > last_at_most:
        assert sparsities[-1] == last_at_most and sparsities[0] == sparsities[1]


@pytest.mark.once
@pytest.mark.parametrize(("epochs", "steps"), [pytest.param(1, 5, marks=pytest.mark.thorough), (1, 1), (2, 3)])
def test_a_run_too_short_for_twenty_prunings_still_ends_at_its_sparsity(epochs, steps, tmp_path):
    settings = Settings(method="compressed", epochs=epochs, steps_per_epoch=steps, out=str(tmp_path / "run"))
    assert train(settings).active_weights == 1004


def test_compressed_prunes_twenty_times_in_its_second_round():
    settings, recipe = resolve(Settings(dataset="digits", recipe="lenet_mnist", method="compressed"))
    assert settings.epochs == 60
    weights = dsr.sparse_weights(build_network(Plan(recipe, settings, 600, digits())).model)
    method = recipe.method("compressed").callback(Plan(recipe, settings, 600, digits(), weights)).method
    assert (method.begin_step, method.end_step) == (30 * 600, 45 * 600)  # until the learning rate falls


def test_the_learning_rates_of_two_rounds_repeat():
    schedule = learning_rates(RECIPES["lenet_digits"], [60, 60], steps=36)
    marks = [(0, 0.1), (30, 0.01), (45, 0.001), (60, 0.1), (90, 0.01), (105, 0.001)]
    for (start, rate), (end, _) in zip(marks, [*marks[1:], (120, None)]):
        assert [float(schedule(step)) for step in (36 * start, 36 * end - 1)] == pytest.approx([rate, rate])
    half = learning_rates(RECIPES["lenet_digits"], [30, 30], steps=36)
    assert [float(half(36 * epoch)) for epoch in (0, 15, 30, 45)] == pytest.approx([0.1, 0.01, 0.1, 0.01])


@pytest.mark.once
@pytest.mark.parametrize(
    ("given", "fraction"),
    [
        ({"sparsity": 0.9}, 0.138),  # the paper's own
        ({"sparsity": 0.5}, 0.028),
        ({"sparsity": 0.85}, 20_000 / 43_546),  # elsewhere as many as DSR: of 290,304 weights
        ({"sparsity": 0.9, "target": 0.25}, 0.25),
        ({"sparsity": 0.9, "target": 100}, 100 / 29_030),
        ({"sparsity": 0.9, "pattern": "kernel"}, 2000 / 3226),  # slices, of 32,256
    ],
)
def test_the_fraction_that_set_moves(given, fraction):
    settings, recipe = resolve(dataclasses.replace(WIDE_RESNET, method="set", **given))
    weights = dsr.sparse_weights(build_network(Plan(recipe, settings, 4, digits())).model)
    callback = recipe.method("set").callback(Plan(recipe, settings, 4, digits(), weights))
    assert callback.method.fraction == pytest.approx(fraction, rel=1e-3)


@pytest.mark.once
def test_set_cannot_move_as_many_weights_as_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"--target must be below the 1,004 that there are\. Received: --target=1004"):
        prepare(dataclasses.replace(SHORT, method="set", target=1004, out=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()


@pytest.mark.once
def test_slices_of_a_convolution_move_as_wholes(finished_slices):
    before, run, result = finished_slices
    assert result.name == "set-0.9-kernel-seed0" and result.changed[0] > 0
    after = [weight.mask.numpy() for weight in dsr.sparse_weights(run.network.model)]
    for masks in (before, after):
        slices = [mask.reshape(9, -1) for mask in masks]
        assert all((mask == mask[0]).all() for mask in slices)
        assert sum(int(mask[0].sum()) for mask in slices) == sum(round(mask[0].size * 0.1) for mask in slices)
    assert result.active_weights == sum(int(mask.sum()) for mask in after)


def test_the_target_by_slices_is_the_recipes():
    for method in ("dsr", "set"):
        settings, _ = resolve(dataclasses.replace(WIDE_RESNET, method=method, pattern="kernel"))
        assert settings.target == 2000


@pytest.mark.slow_on("tensorflow", "jax")
def test_the_target_by_blocks_is_of_as_many_weights():
    settings, _ = resolve(dataclasses.replace(WIDE_RESNET, method="dsr", pattern="4x1"))
    assert settings.target == 20_000 // 4
    built = build_network(Plan(RECIPES["wide_resnet_cifar10"], settings, 4, digits()))
    assert {weight.pattern for weight in dsr.sparse_weights(built.model)} == {(4, 1)}


@pytest.mark.once
@pytest.mark.parametrize("method", ["static", pytest.param("rigl", marks=pytest.mark.thorough)])
def test_the_budget_can_be_spread_by_erdos_renyi_kernel(method, tmp_path):
    settings = dataclasses.replace(SHORT, method=method, distribution="erk", seed=3, out=str(tmp_path / "run"))
    result = train(settings)
    assert result.name == f"{method}-0.98-erk-seed3"
    counts = [active for _, active, _ in result.layers]
    assert counts == [418, 460, 126]  # in proportion to 64 + 300, 300 + 100 and 100 + 10; 1,004 in all


@pytest.mark.once
@pytest.mark.parametrize("method", ["static", "deepr"])
def test_the_last_layer_has_as_many_weights_as_are_asked_for(method, tmp_path):
    settings = dataclasses.replace(SHORT, method=method, last_layer_at_least=100, out=str(tmp_path / "run"))
    result = train(settings)
    assert result.name == f"{method}-0.98-last100-seed0"
    assert [active for _, active, _ in result.layers] == [353, 551, 100]  # 1,004 in all, as without


@pytest.mark.once
@pytest.mark.parametrize("least", [1001, 1003])
def test_the_last_layer_cannot_have_more_than_there_are(least, tmp_path):
    settings = dataclasses.replace(SHORT, method="set", last_layer_at_least=least, out=str(tmp_path / "run"))
    message = rf"--last_layer_at_least must be at most 1,000: the last sparse layer .*Received: .*={least}"
    with pytest.raises(ValueError, match=message):
        prepare(settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.once
def test_the_penalty_of_deepr_can_go_through_the_optimizer():
    settings, recipe = resolve(Settings(dataset="digits", recipe="lenet_mnist", method="deepr"))
    plan = Plan(recipe, settings, 600, digits())
    (first, *_) = build_network(plan).prunable
    assert first.kernel_regularizer.l1 == pytest.approx(plan.method.l1_in_gradient) and plan.method.l1_in_gradient > 0
    assert plan.method.callback(plan).method.l1 == 0


@pytest.mark.once
def test_rigl_ends_at_three_quarters_of_the_training():
    settings, recipe = resolve(Settings(dataset="digits", recipe="lenet_mnist", method="rigl"))
    plan = Plan(recipe, dataclasses.replace(settings, period="recipe"), 600, digits())
    callback = plan.method.callback(plan._replace(weights=dsr.sparse_weights(build_network(plan).model)))
    assert (callback.method.fraction, callback.method.end_step) == (0.3, 13_500)
    assert [callback._period_at(epoch) for epoch in (0, 29)] == [100, 100]


def test_rigl_of_resnet_50_reallocates_as_often_by_images_as_the_paper():
    recipe = RECIPES["resnet_50_imagenet2012"]
    assert recipe.method("rigl").period == ((0, 1600),) and 1600 * recipe.batch_size == 100 * 4096


@pytest.mark.parametrize(("epochs", "lengths"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (9, [4, 3, 2]), (120, [60, 30, 30])])
def test_the_phases_of_dsd_share_the_epochs(epochs, lengths):
    assert RECIPES["lenet_digits"].method("dsd").passes(epochs) == lengths


@pytest.mark.thorough
def test_each_weight_gets_its_sparsity_by_sensitivity_in_two_rounds(tmp_path):
    phases = DSD(sparsities=(0.5, 0.25), dense=(1, 1), sparse=(1, 1), final=1, by_sensitivity=True)
    RECIPES["by_sensitivity"] = dataclasses.replace(RECIPES["lenet_digits"], methods={"dsd": phases})
    try:
        short = Settings(method="dsd", epochs=5, steps_per_epoch=20, recipe="by_sensitivity")
        result = train(dataclasses.replace(short, out=str(tmp_path / "run")))
    finally:
        del RECIPES["by_sensitivity"]
    rows = active_by_epoch(result.folder)
    cut = [1 - sum(row) / 50_200 for row in rows]
    assert cut == pytest.approx([0, 0.5, 0, 0.25, 0], abs=2 / 50_200)
    shares = [count / size for count, size in zip(rows[1], LENET_SIZES)]
    assert max(shares) - min(shares) > 0.02  # not uniform
    rates = [float(row["learning_rate"]) for row in rows_of(result.folder)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])
