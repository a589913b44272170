"""What one run is asked to do, and the check that it can be done."""

import dataclasses
from inspect import signature
from pathlib import Path

import keras

from train.backend import BACKENDS
from train.data.in_memory import DATASETS
from train.experiment.checks import check_kinds, check_name, check_values, require
from train.experiment.network import NETWORKS
from train.experiment.precision import PRECISIONS
from train.methods import METHODS, is_own, kernels_of
from train.recipes import RECIPES, Recipe, find_recipe
from train.storage.previous_run import read_origin


@dataclasses.dataclass(frozen=True)
class Settings:
    """One run. What is None comes from the recipe.

    Attributes:
        model: name of the network, one of `network.NETWORKS`.
        dataset: name of the data set, one of `data.DATASETS`.
        method: one of `methods.METHODS`, or `module:name`, the place of one of the user's own; None: `dsr`, or `static`
            with the mask of another run.
        sparsity: float in [0, 1), of the kernels that the paper makes sparse; other methods spend the same budget.
        epochs: int; the recipe's learning rates and reallocations are stretched or squeezed to it.
        batch_size: int, examples in a step.
        seed: int, from 0 to 2**31 - 1.
        out: the folder of results; None: `runs/<name of the run>`.
        data_dir: folder of prepared TensorFlow Datasets; None: where TFDS keeps them.
        backend: of Keras, one of `backend.BACKENDS`; None: the one that this process has. Fixed when Keras is imported.
        recipe: name of a recipe; None: that of the network and the data set.
        precision: one of `precision.PRECISIONS`: where it is mixed, layers compute in 16 bits, and weights, thresholds
            and what the optimizer keeps stay in float32.
        steps_per_epoch: int, ends every epoch early; None: the whole training set.
        depth: int, of `wide_resnet` only; None: 28.
        width: number: the width of `wide_resnet`; of other networks that have one, a factor on every width; None: the
            recipe's. `thin` makes it less.
        dropout: float in [0, 1), the fraction of hidden units that are dropped in training; None: the recipe's.
        train_examples: int, how many examples to train on, the first ones; None: all.
        label_noise: float in [0, 1], the share of labels to train on that are wrong; None: the recipe's.
        target: of `dsr` and `set`: weights (or slices) to move in a reallocation; an int, or a float in (0, 1) as a
            fraction of the active.
        period: steps between reallocations, an int, from the first to the last; `"recipe"`: as many as the recipe's own
            schedule has, however long this run is; None: in proportion to its length, so that it has as many
            reallocations.
        pattern: what moves as a whole, `"element"` (one weight), `"kernel"` (one slice of a convolution), or a block
            such as `"4x1"` (4 inputs by 1 output); `"2:4"` or another N:M; `"fan_in"`.
        distribution: of the budget over the layers at first, `"uniform"` or `"erk"` (the larger a layer the sparser).
        last_layer_at_least: int, weights that the last sparse layer has at first; the others share what is left of the
            budget. None: its share.
        stop_at: of methods that move weights: the epoch from which on none move.
        mask_from: folder of a finished run whose final mask this one trains with, method `static` (the lottery-ticket
            test).
        init_from: the weights that it begins with: the folder of a run, for those which that run began with, or
            `"random"`, for new ones.
        resume: go on with the run in `out` where its checkpoint ends.
        overwrite: remove the run in `out` first.
    """

    model: str | None = None
    dataset: str | None = None
    method: str | None = None
    sparsity: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    seed: int = 0
    out: str | None = None
    data_dir: str | None = None
    backend: str | None = None
    recipe: str | None = None
    precision: str = "float32"
    steps_per_epoch: int | None = None
    depth: int | None = None
    width: float | None = None
    dropout: float | None = None
    train_examples: int | None = None
    label_noise: float | None = None
    target: int | float | None = None
    period: int | str | None = None
    pattern: str = "element"
    distribution: str = "uniform"
    last_layer_at_least: int | None = None
    stop_at: int | None = None
    mask_from: str | None = None
    init_from: str | None = None
    resume: bool = False
    overwrite: bool = False

    @property
    def name(self) -> str:
        """What tells this run from others of the same network and data set; resolved settings only."""
        parts = [self.method.replace(":", ".")]  # a name of a folder
        if self.mask_from:
            parts = ["lottery", "new" if self.init_from == "random" else "original"]
        if is_own(self.method) or METHODS[self.method].sized:
            parts.append(f"{self.sparsity:g}")
        if self.pattern != "element":
            parts.append(self.pattern.replace(":", "of"))  # a name of a folder
        if self.distribution != "uniform":
            parts.append(self.distribution)
        if self.last_layer_at_least is not None:
            parts.append(f"last{self.last_layer_at_least}")
        for word, value in (("dropout", self.dropout), ("first", self.train_examples), ("noise", self.label_noise)):
            if value is not None:
                parts.append(f"{word}{value:g}")
        if self.precision != "float32":
            parts.append(self.precision)
        if self.stop_at is not None:
            parts.append(f"stop{self.stop_at}")
        return "-".join([*parts, f"seed{self.seed}"])

    def identity(self) -> dict:
        """What fixes the result: everything but positions and what to do with an old folder."""
        places = ("out", "data_dir", "resume", "overwrite")
        identity = {name: value for name, value in dataclasses.asdict(self).items() if name not in places}
        for name in ("mask_from", "init_from"):  # by their names: the folder of a comparison may be moved
            identity[name] = identity[name] and Path(identity[name]).name
        return identity


def resolve(settings: Settings) -> tuple[Settings, Recipe]:
    """The settings with every default filled in, and the recipe.

    Raises:
        ValueError: a name that does not exist, a value out of range, or two that contradict each other.
    """
    check_kinds(settings)
    check_name("backend", settings.backend, BACKENDS)
    if settings.backend not in (None, keras.backend.backend()):
        raise ValueError(
            f"--backend is fixed when Keras is imported, and here Keras has {keras.backend.backend()!r}. Set "
            f"KERAS_BACKEND={settings.backend} before the program begins. Received: --backend={settings.backend}"
        )
    check_name("recipe", settings.recipe, RECIPES)
    check_name("model", settings.model, NETWORKS)
    check_name("dataset", settings.dataset, DATASETS)
    if not is_own(settings.method):  # which is looked for below
        check_name("method", settings.method, METHODS)
    check_name("precision", settings.precision, PRECISIONS)
    settings = _with_defaults(settings, backend=keras.backend.backend())
    settings = _with_defaults(settings, method="dsr" if settings.mask_from is None else "static")
    if settings.mask_from is not None:
        settings = _with_mask(settings)
    if settings.recipe is None:
        model, dataset = settings.model or "lenet_300_100", settings.dataset or "digits"
        settings = dataclasses.replace(settings, model=model, dataset=dataset, recipe=find_recipe(model, dataset))
    recipe = RECIPES[settings.recipe]
    method = recipe.method(settings.method)

    settings = _with_defaults(
        settings,
        model=recipe.model,
        dataset=recipe.datasets[0],
        sparsity=method.sparsity(recipe),
        epochs=recipe.epochs if settings.mask_from else method.epochs(recipe),  # as long as DSR
        batch_size=recipe.batch_size,
        dropout=recipe.dropout,
        label_noise=recipe.label_noise,
    )
    if "width" in signature(NETWORKS[settings.model]).parameters:
        settings = _with_defaults(settings, width=recipe.width if settings.model == recipe.model else 1.0)
    if settings.model == "wide_resnet":
        settings = _with_defaults(settings, depth=28)
    if method.has_target:
        settings = _with_defaults(settings, target=method.default_target(settings.sparsity, settings.pattern))
    check_values(settings, method)
    if settings.out is None:
        settings = dataclasses.replace(
            settings, out=str(Path("runs", f"{settings.model}-{settings.dataset}-{settings.name}"))
        )
    return settings, recipe


def _with_mask(settings: Settings) -> Settings:
    """The settings of a run with the mask of another, of the same network on the same data."""
    require(settings.method == "static", settings, "method", "static beside --mask_from: the mask does not change")
    origin = read_origin(settings.mask_from, "mask_from")
    for name in (*_DATA, "model", "dataset", "depth", "width", "sparsity"):
        given, there = getattr(settings, name), origin.get(name)
        if given is not None and given != there:
            raise ValueError(f"--mask_from is of a run with {name}={there}. Received: --{name}={given}. Leave it out.")
    if settings.init_from is None:
        raise ValueError(
            "--mask_from needs --init_from: the folder of a run, for the weights which that run began with, or "
            "'random', for new ones. Received neither."
        )
    if settings.init_from != "random":
        initial = read_origin(settings.init_from, "init_from")
        if kernels_of(initial["method"]) not in ("sparse", "full"):
            raise ValueError(
                "--init_from must be a run of a sparse method, such as dsr: others draw other first weights. Received: "
                f"--init_from={settings.init_from}, a run of --method={initial['method']}"
            )
        differing = [name for name in ("model", "dataset", "depth", "width") if initial[name] != origin[name]]
        if differing:
            raise ValueError(
                f"--mask_from and --init_from must be runs of the same network. Their {', '.join(differing)} differ."
            )
    inherited = {name: origin[name] for name in ("model", "dataset", "depth", "width", "sparsity", "pattern")}
    inherited |= {name: origin.get(name) for name in _DATA}
    return _with_defaults(dataclasses.replace(settings, **inherited), recipe=origin["recipe"])


_DATA = ("dropout", "train_examples", "label_noise")  # version 0.1.0 had none


def _with_defaults(settings: Settings, **defaults) -> Settings:
    return dataclasses.replace(
        settings, **{name: value for name, value in defaults.items() if getattr(settings, name) is None}
    )
