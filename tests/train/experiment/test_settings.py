"""Recipes give the defaults, settings win, and what cannot be is refused by name."""

import dataclasses

import keras
import numpy as np
import pytest

from train.data.in_memory import InMemory
from train.experiment.network import learning_rates
from train.experiment.settings import Settings, resolve
from train.methods import METHODS, Plan
from train.recipes import RECIPES, find_recipe

pytestmark = pytest.mark.once
PIXELS, LABELS = np.zeros((50_000, 1, 1, 1), "uint8"), np.zeros(50_000, "int64")
CIFAR10 = InMemory(PIXELS, LABELS, PIXELS, LABELS, mean=(0.0,), std=(1.0,))  # as far as lengths go


def test_a_recipe_fills_in_what_is_not_given():
    settings, recipe = resolve(Settings(model="lenet_300_100", dataset="mnist"))
    assert settings.recipe == "lenet_mnist"
    assert (settings.epochs, settings.batch_size, settings.sparsity, settings.target) == (30, 100, 0.99, 600)
    assert recipe is RECIPES["lenet_mnist"]
    assert settings.out.endswith("lenet_300_100-mnist-dsr-0.99-seed0")


def test_what_is_given_wins():
    settings, _ = resolve(Settings(dataset="mnist", epochs=2, batch_size=50, sparsity=0.9, target=0.5, out="here"))
    assert (settings.epochs, settings.batch_size, settings.sparsity) == (2, 50, 0.9)
    assert (settings.target, settings.out) == (0.5, "here")


def test_resolving_twice_changes_nothing():
    once, recipe = resolve(Settings(model="wide_resnet", dataset="cifar10", method="static"))
    assert resolve(once) == (once, recipe)


def test_a_named_recipe_serves_another_data_set():
    settings, _recipe = resolve(Settings(dataset="digits", recipe="wide_resnet_cifar10"))
    assert (settings.model, settings.dataset, settings.epochs) == ("wide_resnet", "digits", 200)


OTHERS = {  # second recipes for the same network and data set, and which one is the default
    "dsd_noisy_labels": "lenet_digits",
    "googlenet_first_version": "googlenet_imagenet2012",
    "vgg_16_first_version": "vgg_16_imagenet2012",
    "resnet_50_first_version": "resnet_50_imagenet2012",
    "deep_speech_wsj": "deep_speech_spoken_digit",
    "neural_talk_flickr8k": "neural_talk_cifar10",
}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_found_by_what_it_is_for(name):
    recipe = RECIPES[name]
    for dataset in recipe.datasets:
        assert find_recipe(recipe.model, dataset) == OTHERS.get(name, name)
    for marks in (recipe.learning_rates, recipe.method("dsr").period):
        starts = [start for start, _ in marks]
        assert starts[0] == 0 and starts == sorted(set(starts)) and starts[-1] < recipe.epochs
    assert recipe.stop_at is None or 0 < recipe.stop_at <= recipe.epochs
    assert set(recipe.methods) <= set(METHODS)
    assert all(type(method) is type(METHODS[name]) for name, method in recipe.methods.items())
    dsd = recipe.methods["dsd"]
    assert min(dsd.lengths) >= 1 and all(0 < sparsity < 1 for sparsity in dsd.sparsities)
    assert dsd.passes(sum(dsd.lengths)) == list(dsd.lengths)


TWICE = ("thin", "static", "compressed", "dsd", "dsd_random")


@pytest.mark.parametrize(("method", "epochs"), [(method, 400 if method in TWICE else 200) for method in METHODS])
def test_the_paper_trains_what_moves_no_weights_twice_as_long(method, epochs):
    settings, _ = resolve(Settings(model="wide_resnet", dataset="cifar10", method=method))
    assert (settings.epochs, settings.depth, settings.width) == (epochs, 28, 2.0)
    assert settings.sparsity == {"dense": 0.0, "dsd": 0.3, "dsd_random": 0.3}.get(method, 0.9)
    assert settings.target == {"dsr": 20_000, "set": 0.138}.get(method)


@pytest.mark.parametrize("epochs", [200, 400, 20])
def test_learning_rates_change_at_the_first_step_of_their_epoch_and_stretch(epochs):
    steps = 500
    schedule = learning_rates(RECIPES["wide_resnet_cifar10"], [epochs], steps)
    start = epochs * 60 // 200 * steps
    assert float(schedule(0)) == pytest.approx(0.1)
    assert float(schedule(start - 1)) == pytest.approx(0.1)
    assert float(schedule(start)) == pytest.approx(0.02)
    assert float(schedule(epochs * steps - 1)) == pytest.approx(0.0008)
    assert isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule)


def test_the_marks_of_dsr_stretch_with_the_epochs():
    recipe = RECIPES["wide_resnet_cifar10"]

    def callback_of(**given):
        settings, _ = resolve(Settings(model="wide_resnet", dataset="cifar10", **given))
        return recipe.method("dsr").callback(Plan(recipe, settings, settings.steps_per_epoch or 500, CIFAR10))

    callback = callback_of(epochs=400)
    assert callback.stop_at == 380
    assert callback_of(epochs=400, stop_at=7).stop_at == 7 and callback_of(epochs=400, stop_at=0).stop_at == 0
    epochs = (0, 49, 50, 160, 280)
    assert [callback._period_at(epoch) for epoch in epochs] == [200, 200, 400, 800, 1600]
    callback = callback_of(epochs=400, steps_per_epoch=50)  # a fifth of the steps, and as many reallocations
    assert [callback._period_at(epoch) for epoch in epochs] == [20, 20, 40, 80, 160]
    callback = callback_of(epochs=400, period="recipe")
    assert [callback._period_at(epoch) for epoch in epochs] == [100, 100, 200, 400, 800]
    callback = callback_of(epochs=400, period=30)
    assert [callback._period_at(epoch) for epoch in epochs] == [30] * 5
    # squeezed into two epochs, several marks fall together and the first wins
    callback = callback_of(epochs=2)
    assert [callback._period_at(epoch) for epoch in (0, 1)] == [1, 4]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "vgg"}, "--model must be one of lenet_300_100, lenet_5, wide_resnet, .*Received: --model=vgg"),
        ({"dataset": "svhn"}, "--dataset must be one of digits, mnist, .*imagenet2012, .*Received: --dataset=svhn"),
        (
            {"method": "nosuch"},
            "--method must be one of dense, thin, hashed, static, snip, .*dsd, dsd_random. Received: --method=nosuch",
        ),
        ({"recipe": "mine"}, "--recipe must be one of lenet_digits, .*Received: --recipe=mine"),
        (
            {"model": "resnet_50", "dataset": "digits"},
            "no recipe for model='resnet_50' .*Existing.*lenet_mnist",
        ),
        ({"sparsity": 1.0}, r"--sparsity must be in \[0, 1\).*Received: --sparsity=1.0"),
        ({"sparsity": -0.1}, r"--sparsity must be in \[0, 1\).*Received: --sparsity=-0.1"),
        ({"sparsity": float("nan")}, r"--sparsity must be in \[0, 1\).*Received: --sparsity=nan"),
        ({"epochs": 0}, "--epochs must be at least 1. Received: --epochs=0"),
        ({"batch_size": -5}, "--batch_size must be at least 1. Received: --batch_size=-5"),
        ({"steps_per_epoch": 0}, "--steps_per_epoch must be at least 1"),
        ({"seed": -1}, "--seed must be from 0 to 2147483647"),
        ({"method": "dense", "sparsity": 0.9}, "--sparsity must be left out, or 0, with --method=dense"),
        ({"method": "static", "target": 5}, "--target must be left out: --method=static has none"),
        ({"method": "deepr", "target": 5}, "--target must be left out: --method=deepr has none. Received: --target=5"),
        (
            {"method": "static", "period": 5},
            "--period must be left out: --method=static has none. Received: --period=5",
        ),
        ({"method": "deepr", "period": "recipe"}, "--period must be left out: --method=deepr has none"),
        ({"period": 0}, "--period must be steps, at least 1, or 'recipe'. Received: --period=0"),
        ({"period": "often"}, "--period must be steps, at least 1, or 'recipe'. Received: --period=often"),
        ({"last_layer_at_least": 0}, "--last_layer_at_least must be a number of weights, from 1 to .*Received: .*=0"),
        (
            {"method": "rigl", "last_layer_at_least": 9},
            "--last_layer_at_least must be left out: no mask of layers is drawn for it by --method=rigl",
        ),
        (
            {"distribution": "erk", "last_layer_at_least": 9},
            "--last_layer_at_least must be left out beside --distribution and --pattern",
        ),
        ({"dropout": 1.0}, r"--dropout must be in \[0, 1\): the fraction of hidden units. Received: --dropout=1.0"),
        ({"dropout": float("nan")}, r"--dropout must be in \[0, 1\).*Received: --dropout=nan"),
        (
            {"model": "wide_resnet", "dataset": "cifar10", "dropout": 0.3},
            "--dropout must be left out: --model=wide_resnet has none. Received: --dropout=0.3",
        ),
        ({"label_noise": 1.2}, r"--label_noise must be in \[0, 1\]: the share of labels. Received: --label_noise=1.2"),
        ({"distribution": "er"}, "--distribution must be one of uniform, erk. Received: --distribution=er"),
        (
            {"method": "compressed", "distribution": "erk"},
            "--distribution must be left out: no mask is drawn for it by --method=compressed. .*erk",
        ),
        (
            {"pattern": "filter"},
            "--pattern must be element, kernel, fan_in, 4x1 or another block, 2:4 or another N:M. Received: .*filter",
        ),
        (
            {"method": "deepr", "pattern": "kernel"},
            "--pattern must be left out: --method=deepr has single weights only. Received: --pattern=kernel",
        ),
        ({"method": "hashed", "pattern": "kernel"}, "--pattern must be left out: --method=hashed"),
        ({"method": "dense", "pattern": "kernel"}, "--pattern must be left out: --method=dense"),
        ({"method": "thin", "pattern": "kernel"}, "--pattern must be left out: --method=thin"),
        (
            {"method": "static", "stop_at": 3},
            "--stop_at must be left out: --method=static moves no weights. Received: --stop_at=3",
        ),
        ({"method": "compressed", "stop_at": 3}, "--stop_at must be left out: --method=compressed moves no weights"),
        ({"stop_at": -1}, "--stop_at must be an epoch, at least 0. Received: --stop_at=-1"),
        ({"method": "static", "init_from": "random"}, "--init_from must be left out without --mask_from"),
        ({"method": "dsd", "epochs": 2}, "--epochs must be enough for an epoch in each of the 3 phases"),
        (
            {"model": "vgg_16", "dataset": "imagenet2012", "width": 0.5},
            "--width must be left out: --model=vgg_16 has one size. Received: --width=0.5",
        ),
        ({"width": -1.0}, "--width must be positive. Received: --width=-1.0"),
        ({"depth": 28}, "--depth must be left out: only --model=wide_resnet has it"),
        ({"model": "wide_resnet", "dataset": "cifar10", "width": 0.0}, "--width must be positive"),
        ({"resume": True, "overwrite": True}, "Pass --resume .* or --overwrite .*Received: both"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        resolve(dataclasses.replace(Settings(), **given))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"method": "dense", "seed": 2}, "dense-seed2"),
        ({}, "dsr-0.98-seed0"),
        ({"method": "thin", "sparsity": 0.5}, "thin-0.5-seed0"),
        ({"pattern": "kernel", "stop_at": 3, "epochs": 5}, "dsr-0.98-kernel-stop3-seed0"),
        ({"pattern": "4x1"}, "dsr-0.98-4x1-seed0"),
        ({"method": "set", "pattern": "2:4", "sparsity": 0.5}, "set-0.5-2of4-seed0"),
        ({"method": "rigl", "distribution": "erk"}, "rigl-0.98-erk-seed0"),
        ({"method": "set", "last_layer_at_least": 100}, "set-0.98-last100-seed0"),
        (
            {"dropout": 0.3, "train_examples": 1000, "label_noise": 0.2},
            "dsr-0.98-dropout0.3-first1000-noise0.2-seed0",
        ),
        ({"recipe": "dsd_noisy_labels", "method": "dense"}, "dense-noise0.4-seed0"),
    ],
)
def test_the_name_tells_a_run_from_others(given, name):
    settings, _ = resolve(Settings(**given))
    assert settings.name == name and settings.out.endswith(f"lenet_300_100-digits-{name}")


@pytest.mark.parametrize(("model", "width"), [("lenet_300_100", 1.0), ("resnet_50", 1.0), ("wide_resnet", 2.0)])
def test_every_network_has_a_width(model, width):
    recipe = next(recipe for recipe in RECIPES.values() if recipe.model == model)
    settings, _ = resolve(Settings(model=model, dataset=recipe.datasets[0]))
    assert settings.width == width
    assert resolve(Settings(model=model, dataset=recipe.datasets[0], width=0.5))[0].width == 0.5
