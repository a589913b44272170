"""The lottery-ticket test: another run's final mask, with the weights which that run began with or with new ones."""

import dataclasses

import keras
import numpy as np
import pytest
from rich.console import Console

import keras_dsr as dsr
from tests.helpers.run_folders import rows_of
from tests.helpers.runs import Interrupt, assert_same_bits
from train.experiment.settings import Settings, resolve
from train.run import execute, prepare, train
from train.storage.checkpoint import read_variables

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Settings]:
    """Settings of finished runs of a few steps, by method."""
    root = tmp_path_factory.mktemp("runs")
    settings = {
        method: Settings(method=method, epochs=1, steps_per_epoch=2, seed=3, out=str(root / method))
        for method in ("dense", "thin", "hashed", "compressed")
    }
    for run in settings.values():
        train(run)
    return settings


def lottery(origin: Settings, out="unused", init_from=None, **changes) -> Settings:
    return Settings(method="static", mask_from=origin.out, init_from=init_from or origin.out, out=str(out), **changes)


def final_masks(out) -> list[np.ndarray]:
    return [array for name, array in read_variables(f"{out}/checkpoint") if name.endswith("/kernel_mask")]


def masks_and_kernels(settings: Settings) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What a run begins with."""
    weights = dsr.sparse_weights(prepare(settings).network.model)
    pairs = [(weight.mask, weight.variable) for weight in weights]
    return tuple([keras.ops.convert_to_numpy(variable) for variable in side] for side in zip(*pairs))


def test_it_begins_with_the_final_mask_and_the_first_weights(finished, tmp_path):
    origin, result = finished
    first_masks, first_kernels = masks_and_kernels(dataclasses.replace(origin, out=str(tmp_path / "again")))
    masks, kernels = masks_and_kernels(lottery(origin, tmp_path / "run"))
    assert sum(int(mask.sum()) for mask in masks) == result.active_weights == 1004
    for final, mask, kernel, first_mask, first in zip(
        final_masks(origin.out), masks, kernels, first_masks, first_kernels, strict=True
    ):
        assert np.array_equal(mask, final)
        both = first_mask & mask
        assert both.any() and kernel[both].tobytes() == first[both].tobytes()
        assert (kernel[mask] != 0).all() and (kernel[~mask] == 0).all()
    assert any((mask != first_mask).any() for mask, first_mask in zip(masks, first_masks))


def test_a_weight_that_the_run_had_not_at_first_is_the_one_that_was_drawn_for_it(runs):
    """Seen with compressed, which begins with every weight."""
    _, first = masks_and_kernels(dataclasses.replace(runs["compressed"], out="unused"))
    masks, kernels = masks_and_kernels(lottery(runs["compressed"]))
    assert all(kernel[mask].tobytes() == other[mask].tobytes() for mask, kernel, other in zip(masks, kernels, first))


def test_new_weights_are_others_also_with_the_same_seed(finished):
    origin, _ = finished
    masks, kernels = masks_and_kernels(lottery(origin, seed=origin.seed))
    new_masks, new = masks_and_kernels(lottery(origin, init_from="random", seed=origin.seed))
    other_masks, other = masks_and_kernels(lottery(origin, init_from="random", seed=origin.seed + 1))
    for mask, new_mask, other_mask in zip(masks, new_masks, other_masks, strict=True):
        assert np.array_equal(mask, new_mask) and np.array_equal(mask, other_mask)
    for mask, one, two, three in zip(masks, kernels, new, other, strict=True):
        assert not np.intersect1d(one[mask], two[mask]).size and not np.intersect1d(two[mask], three[mask]).size


def test_the_first_weights_do_not_depend_on_its_own_seed(finished):
    origin, _ = finished
    _, kernels = masks_and_kernels(lottery(origin, seed=origin.seed))
    _, again = masks_and_kernels(lottery(origin, seed=origin.seed + 1))
    assert all(one.tobytes() == two.tobytes() for one, two in zip(kernels, again, strict=True))


def test_the_mask_never_changes(finished, tmp_path):
    origin, _ = finished
    result = train(lottery(origin, tmp_path / "run", epochs=2, steps_per_epoch=4))
    assert result.name == "lottery-original-0.98-seed0" and result.changed == (0.0, 0.0)
    for final, mask in zip(final_masks(origin.out), final_masks(result.folder), strict=True):
        assert np.array_equal(final, mask)
    assert not any(name.startswith("dsr_") for name in rows_of(result.folder)[0])


@pytest.mark.parametrize("init_from", ["random", pytest.param(None, marks=pytest.mark.thorough)])
def test_it_ends_with_the_same_bits_after_an_interruption(finished, init_from, tmp_path):
    origin, _ = finished
    whole, stopped = (
        lottery(origin, tmp_path / name, init_from, epochs=2, steps_per_epoch=17) for name in ("whole", "stopped")
    )
    train(whole)
    with pytest.raises(KeyboardInterrupt):
        execute(prepare(stopped), Console(quiet=True), Interrupt())
    assert not (tmp_path / "stopped" / "result.json").exists()
    train(dataclasses.replace(stopped, resume=True))
    assert_same_bits(tmp_path / "whole", tmp_path / "stopped")


def test_the_weights_of_a_compressed_run_with_the_mask_of_another(finished, runs):
    origin, _ = finished
    network = prepare(dataclasses.replace(runs["compressed"], out="unused")).network
    first = [keras.ops.convert_to_numpy(layer.kernel) for layer in network.prunable]
    masks, kernels = masks_and_kernels(lottery(origin, init_from=runs["compressed"].out))
    for mask, kernel, other in zip(masks, kernels, first, strict=True):
        assert kernel[mask].tobytes() == other[mask].tobytes()


def test_the_first_weights_of_a_lottery_run_are_those_that_it_took(finished, tmp_path):
    origin, _ = finished
    new = lottery(origin, tmp_path / "new", init_from="random", epochs=1, steps_per_epoch=1)
    train(new)
    _, kernels = masks_and_kernels(lottery(origin, init_from=new.out))
    _, expected = masks_and_kernels(dataclasses.replace(new, out="unused"))
    assert all(one.tobytes() == two.tobytes() for one, two in zip(kernels, expected, strict=True))


def test_the_network_is_that_of_the_mask(finished_slices):
    _, run, _ = finished_slices
    settings, _ = resolve(lottery(run.settings))
    assert (settings.model, settings.dataset, settings.depth, settings.width) == ("wide_resnet", "digits", 10, 0.5)
    assert (settings.recipe, settings.pattern) == ("wide_resnet_cifar10", "kernel")
    assert settings.epochs == 200, "not 400: it lasts as long as DSR"
    assert resolve(settings)[0] == settings


def test_what_cannot_be_is_refused(finished, runs, tmp_path):
    origin, _ = finished
    unfinished = dataclasses.replace(origin, steps_per_epoch=5, out=str(tmp_path / "unfinished"))
    with pytest.raises(KeyboardInterrupt):
        execute(prepare(unfinished), Console(quiet=True), Interrupt())
    (tmp_path / "empty").mkdir()
    static = Settings()  # with a mask, the method is static
    for changes, kind, message in (
        ({"mask_from": origin.out}, ValueError, "--mask_from needs --init_from: the folder of a run.*'random'"),
        ({"init_from": "random"}, ValueError, "--init_from must be left out without --mask_from"),
        (
            {"method": "dsr", "mask_from": origin.out, "init_from": "random"},
            ValueError,
            "--method must be static beside --mask_from.*Received: --method=dsr",
        ),
        (
            {"mask_from": str(tmp_path / "empty"), "init_from": "random"},
            FileNotFoundError,
            "--mask_from=.*empty holds no run. Pass the folder of one",
        ),
        (
            {"mask_from": unfinished.out, "init_from": "random"},
            FileNotFoundError,
            "--mask_from=.*unfinished holds a run that is not finished",
        ),
        (
            {"mask_from": origin.out, "init_from": str(tmp_path / "none")},
            FileNotFoundError,
            "--init_from=.*none holds no run",
        ),
        (
            {"mask_from": runs["dense"].out, "init_from": "random"},
            ValueError,
            "--mask_from=.*dense is a run without masks. Pass one of a sparse method, such as dsr",
        ),
        ({"mask_from": runs["hashed"].out, "init_from": "random"}, ValueError, "is a run without masks"),
        (
            {"mask_from": origin.out, "init_from": "random", "model": "resnet_50"},
            ValueError,
            "--mask_from is of a run with model=lenet_300_100. Received: --model=resnet_50. Leave it out",
        ),
        (
            {"mask_from": origin.out, "init_from": "random", "sparsity": 0.5},
            ValueError,
            "--mask_from is of a run with sparsity=0.98. Received: --sparsity=0.5",
        ),
        (
            {"mask_from": origin.out, "init_from": "random", "width": 2.0},
            ValueError,
            "--mask_from is of a run with width=1.0. Received: --width=2.0",
        ),
        (
            {"mask_from": origin.out, "init_from": runs["thin"].out},
            ValueError,
            "--init_from must be a run of a sparse method.*Received: --init_from=.*a run of --method=thin",
        ),
        ({"mask_from": origin.out, "init_from": runs["hashed"].out}, ValueError, "a run of --method=hashed"),
        ({"mask_from": origin.out, "init_from": runs["dense"].out}, ValueError, "a run of --method=dense"),
    ):
        with pytest.raises(kind, match=message):
            prepare(dataclasses.replace(static, out=str(tmp_path / "run"), **changes))
        assert not (tmp_path / "run").exists()


def test_a_damaged_mask_is_refused(finished, tmp_path):
    origin, result = finished
    folder = tmp_path / "origin"
    folder.mkdir()
    for name in ("config.json", "result.json"):
        (folder / name).write_bytes((result.folder / name).read_bytes())
    (folder / "checkpoint").write_bytes((result.folder / "checkpoint").read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"The checkpoint .*origin/checkpoint is damaged or truncated"):
        prepare(lottery(dataclasses.replace(origin, out=str(folder)), tmp_path / "run"))
    assert not (tmp_path / "run").exists()
