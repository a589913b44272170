"""A run of version 0.1.0, whose config.json holds the numbers of all methods in its recipe, goes on."""

import json

import pytest

from train.experiment.settings import Settings, resolve
from train.run import run_config
from train.storage.run_folder import check_folder

pytestmark = pytest.mark.once

RECIPE = {  # of a wide residual network, as 0.1.0 wrote it
    "model": "wide_resnet",
    "datasets": ["cifar10"],
    "sparsity": 0.9,
    "epochs": 200,
    "batch_size": 100,
    "learning_rates": [[0, 0.1], [60, 0.02], [120, 0.004], [160, 0.0008]],
    "weight_decay": 0.0005,
    "dsd": {
        "sparsities": [0.3],
        "dense": [200],
        "sparse": [100],
        "final": 100,
        "sparse_factor": 1.0,
        "final_factor": 0.1,
        "by_sensitivity": False,
    },
    "target": 20000,
    "period": [[0, 100], [25, 200], [80, 400], [140, 800]],
    "stop_at": 190,
    "temperatures": [[0, 1e-05], [25, 1e-08], [80, 1e-12], [140, 1e-15]],
    "clip": None,
    "width": 2.0,
    "kernel_target": 2000,
    "set_fractions": [[0.9, 0.138], [0.8, 0.07], [0.7, 0.046], [0.6, 0.034], [0.5, 0.028]],
    "l1": 1e-05,
    "rigl_period": [[0, 100]],
    "rigl_fraction": 0.3,
    "rigl_ends": 0.75,
    "pruning_schedule": "polynomial",
    "last_kernel_at_most": None,
    "static_lasts": 2,
    "steps_per_execution": 1,
}
OTHERWISE = {  # a number of each method, as it was not
    "static": {"static_lasts": 3},
    "thin": {"static_lasts": 3},
    "set": {"set_fractions": []},
    "dsr": {"kernel_target": 1},
    "deepr": {"l1": 0.1},
    "rigl": {"rigl_ends": 0.5},
    "compressed": {"pruning_schedule": "exponential"},
    "dsd": {"dsd": {**RECIPE["dsd"], "final": 50}},
    "dsd_random": {"dsd": {**RECIPE["dsd"], "final_factor": 0.5}},
}


@pytest.mark.parametrize("method", [*OTHERWISE, "dense", "hashed", "snfs"])
def test_a_run_of_the_first_version_goes_on_by_the_same_numbers_alone(method, tmp_path):
    settings, recipe = resolve(Settings(model="wide_resnet", dataset="cifar10", method=method, out=str(tmp_path)))
    config = run_config(settings, recipe)
    (tmp_path / "checkpoint").touch()

    def check(first_recipe):
        old = {"program": "train.run", "settings": config["settings"], "recipe": first_recipe}
        (tmp_path / "config.json").write_text(json.dumps(old))
        check_folder(tmp_path, config, resume=True, overwrite=False)

    check(RECIPE)
    with pytest.raises(ValueError, match="recipe weight_decay: 0.1 there, 0.0005 asked for"):
        check({**RECIPE, "weight_decay": 0.1})
    if method in OTHERWISE:
        with pytest.raises(ValueError, match=r"method \w+: .* there, .* asked for"):
            check({**RECIPE, **OTHERWISE[method]})
