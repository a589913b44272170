"""Make a model that exists sparse, in place, and report what was made sparse, what was not, and why."""

from collections.abc import Callable, Iterable, Mapping
from typing import cast

import keras
import numpy as np
from keras import ops

from keras_dsr.arguments import check_model, drawn_seed, is_function
from keras_dsr.backend.keras_owners import models_holding
from keras_dsr.conversion.convert import Conversion, convert
from keras_dsr.conversion.given_masks import checked_masks, choose_given
from keras_dsr.conversion.sparsify_report import SkippedRow, SparseRow, SparsifyReport
from keras_dsr.conversion.untrained import check_can_be_scaled, notes_on_first_weights
from keras_dsr.layers.capacity import room_for
from keras_dsr.layers.initial_scale import check_initial_scale
from keras_dsr.layers.registry import SPARSE_CLASS_OF, SPARSE_CONTAINER_OF
from keras_dsr.layers.storage import check_storage
from keras_dsr.layers.storage_choice import StorageChoice, choose_storage
from keras_dsr.layers.units_by_pattern import units_of
from keras_dsr.ops.initial_masks import (
    check_mask,
    check_sparsity,
    magnitude_mask,
    random_mask,
)
from keras_dsr.ops.patterns import Pattern, check_fits, check_pattern
from keras_dsr.ops.sparsity_distributions import check_distribution, numbers_of_units
from keras_dsr.ops.units import Units
from keras_dsr.progress import with_progress
from keras_dsr.selectors.candidates import Candidate
from keras_dsr.selectors.language import (
    Selector,
    built_candidates,
    check_matched,
    check_selector,
    choose,
    matches,
)
from keras_dsr.weights.sparse_weights import layer_weights, sparse_optimizer

Distribution = str | Mapping[Selector, float] | Callable[[Candidate], float]


def sparsify(
    model: keras.Model,
    sparsity: float = 0.9,
    distribution: Distribution = "uniform",
    include: Selector | Iterable[Selector] = (),
    exclude: Selector | Iterable[Selector] = (),
    pattern: Pattern = "element",
    mask: str | Mapping[str, np.ndarray] = "random",
    seed: int | None = None,
    storage: str = "masked",
    capacity: int | float | None = None,
    batch_size: int | None = None,
    initial_scale: str = "dense",
) -> SparsifyReport:
    """Make a built model sparse, in place: sequential, functional, subclassed or nested, with layers shared or not.

    Layers of Keras get their sparse classes; the weights that stay keep their values (see `initial_scale`), the graph
    stays as it is, and so does the optimizer of a compiled model (its slots start over where weights are cut). A layer
    that cannot be treated is left as it is, and the report says why. Left dense unless they are included: biases,
    normalization, embeddings, depthwise kernels, frozen weights.

    Args:
        model: a built Keras model.
        sparsity: float in [0, 1), the fraction of weights that are zero.
        distribution: how it is spread over the weights. `"uniform"`: the same in each. `"erk"`: Erdős–Rényi kernel, the
            larger the sparser, with exactly `round((1 - sparsity) * units)` active units in all (Mocanu et al. 2018,
            arXiv 1707.04780; Evci et al. 2020, arXiv 1911.11134). A mapping from layers, classes or names (as in
            `include`) to sparsities: the others get `sparsity`. A function of a candidate (with `.layer`, `.role`,
            `.name`, `.shape`, `.size`) that returns a sparsity. At least one unit of each weight stays active.
        include: what is made sparse although it is left out by default: layers (with all in them), classes of layers,
            or regular expressions that match the whole name of a layer, or the whole path of a weight (with or without
            the name of the model), such as `"block1/conv/kernel"`. Biases are meant by their path alone: `".*/bias"`.
        exclude: what stays dense, in the same terms. It goes before `include`.
        pattern: what is pruned and grown as a whole: `"element"` (single weights), `"kernel"` (k x k slices of
            convolutions), a pair such as `(4, 1)` (blocks of 4 neighbouring inputs by 1 output), `"2:4"` or another
            N:M (of 4 neighbouring inputs 2), or `"fan_in"` (as many in each output).
        mask: `"random"`; `"magnitude"`, the largest weights (units) of each tensor stay: for a pretrained model; or a
            mapping from the paths of weights to bool arrays of their shapes, as `masks_at_initialization` returns:
            they become sparse by these masks, others stay dense; `sparsity`, `distribution`, `include` are not used.
        seed: int, of random masks. None draws one from Python's random numbers.
        storage: how weights are stored (see `keras_dsr.SparseDense`). `"masked"`; `"compact"`: as a list where the
            layer is a product with one matrix or a convolution; or `"auto"`: as a list where that makes a step faster
            on this machine, which is timed, some seconds for each size. The report says what was chosen, and why. A
            compiled model with layers in compact storage gets a fresh optimizer of the same configuration, at iteration
            0.
        capacity: what layers in compact storage have room for; None: 1.5 times their weights.
        batch_size: int, for how many examples `storage="auto"` times a step; None: 64.
        initial_scale: `"dense"`: weights that stay keep their values. `"active"`, for a model that has not been
            trained: they are scaled to the variance that their initializers promise for the active fan (see
            `keras_dsr.SparseDense`), where these scale by fans; the report names those that do not.

    Returns:
        A `SparsifyReport`, which prints as a table.

    Raises:
        TypeError: something that is no model of Keras 3.
        ValueError: an argument out of range, a selector that matches nothing, an unbuilt model, or a budget too small
            for the number of tensors, or a capacity below the weights of a layer. `initial_scale="active"` with a model
            that was trained or holds weights that its initializers cannot have drawn, with `mask="magnitude"`, or where
            no initializer scales by fans. The model is as it was before.

    Example:

    >>> print(keras_dsr.sparsify(model, sparsity=0.9, exclude=[model.layers[1], "head"]))
    """
    check_model(model, "sparsify")
    pattern = check_pattern(pattern, "sparsify")
    given, mask = (mask, "given") if isinstance(mask, Mapping) else (None, check_mask(mask, "sparsify"))
    check_storage(storage, capacity, batch_size, "sparsify")
    check_initial_scale(initial_scale, "sparsify")
    sparsity = check_sparsity(sparsity, "sparsify")
    if given is None:
        check_fits(pattern, sparsity, "sparsify")
    seed = drawn_seed(seed, "sparsify", "seed")
    found, unbuilt = built_candidates(model, "sparsify")
    chosen, left_out = (
        choose(found, include, exclude, "sparsify") if given is None else choose_given(given, found, exclude)
    )
    skipped = [SkippedRow(one.name, type(one.layer).__name__, one.size, reason) for one, reason in left_out]
    _check_not_sparse(model, skipped, sparsity, distribution, pattern)
    _check_not_held(chosen)
    made_of = [units_of(cast(keras.layers.Layer, one.layer), one.role, one.shape, pattern) for one in chosen]
    if given is None:
        masks = _drawn(mask, chosen, made_of, _distribute(distribution, sparsity, chosen, made_of), seed)
    else:
        masks = checked_masks(given, chosen, made_of)
    if initial_scale == "active":
        check_can_be_scaled(model, chosen, mask)

    by_layer: dict[int, tuple[keras.layers.Layer, dict[str, np.ndarray]]] = {}
    for one, of_it in zip(chosen, masks):
        by_layer.setdefault(id(one.layer), (one.layer, {}))[1][one.role] = of_it
    choices = _choose_storages(by_layer, chosen, storage, capacity, batch_size, pattern)
    if sparse_optimizer(model) is not None and any(choice.storage == "compact" for choice in choices.values()):
        raise ValueError(
            "sparsify(storage=...) must be 'masked' for a model that is compiled with a SparseOptimizer: its masks are "
            f"those of variables that compact layers replace. Received: storage={storage!r}"
        )
    rows = tuple(
        SparseRow(
            one.name,
            one.shape,
            int(by_layer[id(one.layer)][1][one.role].sum()),
            type(one.layer).__name__,
            choices[id(one.layer)].storage,
            choices[id(one.layer)].why,
            choices[id(one.layer)].seconds,
        )
        for one in chosen
    )
    conversions = [Conversion(*of_layer, choices[key].storage) for key, of_layer in by_layer.items()]
    notes = notes_on_first_weights(model, chosen, [row.sparsity for row in rows], mask, initial_scale)
    convert(model, conversions, pattern, seed, capacity, initial_scale)
    skipped += [SkippedRow(layer.name, type(layer).__name__, 0, "not built: never called yet") for layer in unbuilt]
    return SparsifyReport(rows, tuple(skipped), _own_classes(chosen), notes)


def _drawn(mask: str, chosen: list[Candidate], made_of: list[Units], active: list[int], seed: int) -> list[np.ndarray]:
    """A mask for each weight, by magnitude or at random, of so many active units."""
    if mask == "magnitude":
        values = [ops.convert_to_numpy(one.variable) for one in chosen]
        return [magnitude_mask(*of_one) for of_one in zip(values, active, made_of)]
    return [
        random_mask(one.shape, count, units, [seed, index])
        for index, (one, count, units) in enumerate(zip(chosen, active, made_of))
    ]


def _check_not_sparse(
    model: keras.Model, skipped: list[SkippedRow], sparsity: float, distribution, pattern: Pattern
) -> None:
    """Raise `ValueError` if weights are sparse already, otherwise than is asked for, and not excluded."""
    excluded = {row.name for row in skipped if row.reason == "excluded"}
    other = []
    for weight in layer_weights(model):
        has_pattern = weight.units == units_of(weight.layer, weight.role, weight.shape, pattern)
        is_asked_for = distribution == "uniform" and has_pattern and weight.active_units() == weight.units_at(sparsity)
        if weight.name not in excluded and not is_asked_for:
            other.append(weight)
    if other:
        first = other[0]
        raise ValueError(
            f"sparsify(model) would leave {len(other)} weights as they are that are sparse already, such as "
            f"{first.name!r} with {first.count():,} of {first.size:,} weights. Expected: dense layers, or sparse ones "
            f"of the sparsity and pattern asked for. Received: sparsity={sparsity!r}, distribution={distribution!r}, "
            f"pattern={pattern!r}, where {first.name!r} has {first.pattern!r}. Exclude them, "
            "call `keras_dsr.densify(model)` first (with mask='magnitude' its zeros go first), or prune on with "
            "`methods.GradualPruning`."
        )


def _check_not_held(chosen: list[Candidate]) -> None:
    """Raise `ValueError` if a `SparseOptimizer` keeps one of the weights sparse, or will when it is built."""
    variables = {id(one.variable): one.name for one in chosen}
    for holder in models_holding([one.layer for one in chosen]):
        optimizer = sparse_optimizer(holder)
        if optimizer is None:
            continue
        held = [variables[id(one)] for one in optimizer.would_hold(holder.trainable_variables) if id(one) in variables]
        if held:
            raise ValueError(
                f"{held[0]!r} would be sparse twice: {holder.name!r} is compiled with a SparseOptimizer that keeps it "
                "sparse, with a mask of its own. Compile the model with the optimizer inside it, exclude the layer "
                "here, or leave it out there with SparseOptimizer(select=...). Nothing was changed."
            )


def _choose_storages(
    by_layer: dict, chosen: list[Candidate], storage: str, capacity, batch_size, pattern: Pattern
) -> dict:
    """The `StorageChoice` of each layer, by its identity."""
    owners = {id(one.layer): one.owners for one in chosen}
    choices = {}
    for key, (layer, masks) in with_progress(by_layer.items(), "Timing storages", storage == "auto"):
        container = next((type(owner) for owner in owners[key] if type(owner) in SPARSE_CONTAINER_OF), None)
        if container is not None and storage != "masked":
            choices[key] = StorageChoice("masked", f"{container.__name__} makes masked layers when it is loaded")
            continue
        sparsity = {role: 1 - float(mask.mean()) for role, mask in masks.items()}
        shape = (layer.get_build_config() or {}).get("input_shape")
        kind = SPARSE_CLASS_OF[type(layer)]
        choices[key] = choose_storage(layer, kind, sparsity, shape, storage, capacity, batch_size, pattern)
        if choices[key].storage == "compact":
            (mask,) = masks.values()
            room_for(capacity, int(mask.sum()), mask.size, "sparsify", f"layer {layer.name!r}")
    return choices


def _distribute(
    distribution: Distribution, sparsity: float, chosen: list[Candidate], made_of: list[Units]
) -> list[int]:
    """The number of active units of each weight."""
    if isinstance(distribution, Mapping):
        for selector in distribution:
            check_selector(selector, "sparsify", "distribution")
            check_matched(selector, chosen, "sparsify", "distribution")
        shares = [_looked_up(distribution, one, sparsity) for one in chosen]
        return [of_one.number_at(of_one.count(one.shape), share) for one, of_one, share in zip(chosen, made_of, shares)]
    if is_function(distribution):
        shares = [distribution(one) for one in chosen]
        for one, share in zip(chosen, shares):
            check_sparsity(share, "sparsify", "distribution", f"{distribution!r} gave {share!r} for {one.name!r}")
        return [of_one.number_at(of_one.count(one.shape), share) for one, of_one, share in zip(chosen, made_of, shares)]
    distribution = cast(str, distribution)
    check_distribution(distribution, "sparsify", ", a mapping from layers or names to sparsities, or a function")
    return numbers_of_units(distribution, sparsity, [one.shape for one in chosen], made_of, "sparsify")


def _looked_up(distribution: Mapping, one: Candidate, sparsity: float) -> float:
    """The sparsity that a mapping gives a weight; that of the selector of the weight's own layer before its owners'."""
    matching = {selector: value for selector, value in distribution.items() if matches(selector, one)}
    own = {
        key: value
        for key, value in matching.items()
        if key is one.layer or key in (cast(keras.layers.Layer, one.layer).name, one.name)
    }
    shares = {check_sparsity(share, "sparsify", "distribution") for share in (own or matching).values()}
    if len(shares) > 1:
        raise ValueError(
            f"sparsify(distribution=...) gives {one.name!r} several sparsities: "
            f"{', '.join(f'{key!r}: {share}' for key, share in matching.items())}. Leave one."
        )
    return shares.pop() if shares else sparsity


def _own_classes(chosen: list[Candidate]) -> tuple[str, ...]:
    """The classes, not Keras's, in which sparse layers lie: when a model is loaded they would make stock layers."""
    owners = [type(owner) for one in chosen for owner in one.owners]
    return tuple(sorted({kind.__name__ for kind in owners if not kind.__module__.startswith(("keras.", "keras_dsr."))}))
