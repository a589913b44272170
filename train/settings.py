"""What one run is asked to do, and the check that it can be done."""

import dataclasses
from pathlib import Path

from train.data import DATASETS
from train.methods import METHODS
from train.network import NETWORKS
from train.recipes import RECIPES, Recipe, find_recipe


@dataclasses.dataclass(frozen=True)
class Settings:
    """One run. What is None comes from the recipe.

    Attributes:
        model: name of the network, one of `network.NETWORKS`.
        dataset: name of the data set, one of `data.DATASETS`.
        method: one of `methods.METHODS`.
        sparsity: float in [0, 1), of the kernels that the paper makes sparse.
        epochs: int; the recipe's learning rates and reallocations are stretched or squeezed to it.
        batch_size: int, examples in a step.
        seed: int, from 0 to 2**31 - 1.
        out: the folder of results; None: `runs/<name of the run>`.
        data_dir: folder of prepared TensorFlow Datasets; None: where TFDS keeps them.
        recipe: name of a recipe; None: that of the network and the data set.
        steps_per_epoch: int, ends every epoch early; None: the whole training set.
        depth: int, of `wide_resnet` only; None: 28.
        width: number, of `wide_resnet` only; None: 2.
        target: of DSR only: weights to move in a reallocation; an int, or a float in (0, 1) as a share of the active.
        resume: go on with the run in `out` where its checkpoint ends.
        overwrite: remove the run in `out` first.
    """

    model: str | None = None
    dataset: str | None = None
    method: str = "dsr"
    sparsity: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    seed: int = 0
    out: str | None = None
    data_dir: str | None = None
    recipe: str | None = None
    steps_per_epoch: int | None = None
    depth: int | None = None
    width: float | None = None
    target: int | float | None = None
    resume: bool = False
    overwrite: bool = False

    @property
    def name(self) -> str:
        """What tells this run from others of the same network and data set; resolved settings only."""
        sparsity = "" if self.method == "dense" else f"-{self.sparsity:g}"
        return f"{self.method}{sparsity}-seed{self.seed}"

    def identity(self) -> dict:
        """What fixes the result: everything but places and what to do with an old folder."""
        places = ("out", "data_dir", "resume", "overwrite")
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in places}


def resolve(settings: Settings) -> tuple[Settings, Recipe]:
    """The settings with every default filled in, and the recipe.

    Raises:
        ValueError: a name that does not exist, a value out of range, or two that contradict each other.
    """
    _check_name("recipe", settings.recipe, RECIPES)
    _check_name("model", settings.model, NETWORKS)
    _check_name("dataset", settings.dataset, DATASETS)
    _check_name("method", settings.method, METHODS)
    if settings.recipe is None:
        model, dataset = settings.model or "lenet_300_100", settings.dataset or "digits"
        settings = dataclasses.replace(settings, model=model, dataset=dataset, recipe=find_recipe(model, dataset))
    recipe = RECIPES[settings.recipe]
    method = METHODS[settings.method]

    settings = _with_defaults(
        settings,
        model=recipe.model,
        dataset=recipe.datasets[0],
        sparsity=recipe.sparsity if method.sparse else 0.0,
        epochs=recipe.epochs * (recipe.static_lasts if settings.method == "static" else 1),
        batch_size=recipe.batch_size,
    )
    if settings.model == "wide_resnet":
        settings = _with_defaults(settings, depth=28, width=2.0)
    if method.moves:
        settings = _with_defaults(settings, target=recipe.target)
    _check_values(settings)
    if settings.out is None:
        settings = dataclasses.replace(
            settings, out=str(Path("runs", f"{settings.model}-{settings.dataset}-{settings.name}"))
        )
    return settings, recipe


def _with_defaults(settings: Settings, **defaults) -> Settings:
    return dataclasses.replace(
        settings, **{name: value for name, value in defaults.items() if getattr(settings, name) is None}
    )


def _check_name(flag: str, name: str | None, known) -> None:
    if name is not None and name not in known:
        raise ValueError(f"--{flag} must be one of {', '.join(known)}. Received: --{flag}={name}")


def _check_values(settings: Settings) -> None:
    _require(0 <= settings.sparsity < 1, settings, "sparsity", "in [0, 1): the share of kernel weights that are zero")
    for name in ("epochs", "batch_size", "steps_per_epoch"):
        value = getattr(settings, name)
        _require(value is None or value >= 1, settings, name, "at least 1")
    _require(0 <= settings.seed < 2**31, settings, "seed", "from 0 to 2147483647")
    _require(settings.width is None or settings.width > 0, settings, "width", "positive")
    if settings.method == "dense":
        _require(settings.sparsity == 0, settings, "sparsity", "left out, or 0, with --method=dense")
    if settings.model != "wide_resnet":
        for name in ("depth", "width"):
            _require(getattr(settings, name) is None, settings, name, "left out: only --model=wide_resnet has it")
    if not METHODS[settings.method].moves:
        _require(settings.target is None, settings, "target", f"left out: --method={settings.method} moves no weights")
    if settings.resume and settings.overwrite:
        raise ValueError("Pass --resume to go on with a run or --overwrite to start it again. Received: both.")


def _require(condition: bool, settings: Settings, name: str, expected: str) -> None:
    if not condition:
        raise ValueError(f"--{name} must be {expected}. Received: --{name}={getattr(settings, name)}")
