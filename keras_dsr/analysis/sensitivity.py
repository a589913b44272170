"""Sensitivity of a trained model to sparsity: its metric when one weight alone is cut, for each weight."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import keras
import numpy as np
from keras import ops

from keras_dsr.analysis.evaluation import finite, judged_by, modes_of, readable
from keras_dsr.analysis.sensitivity_report import Sensitivity, SensitivityRow
from keras_dsr.analysis.temporary_cut import kept_whole, trial
from keras_dsr.arguments import check_model, check_verbose, is_one_of
from keras_dsr.ops.initial_masks import check_sparsity, magnitude_mask
from keras_dsr.ops.units import SINGLE
from keras_dsr.selectors.candidates import Candidate
from keras_dsr.selectors.language import Selector, built_candidates, choose, left_dense_by_default
from keras_dsr.weights.compact_weight import CompactWeight
from keras_dsr.weights.sparse_weight import SparseWeight
from keras_dsr.weights.sparse_weights import sparse_optimizer, sparse_weights

SPARSITIES = (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
MODES = ("auto", "max", "min")


def sensitivity(
    model: keras.Model,
    data,
    sparsities: Sequence[float] = SPARSITIES,
    metric: str | None = None,
    include: Selector | Iterable[Selector] = (),
    exclude: Selector | Iterable[Selector] = (),
    batch_size: int | None = None,
    steps: int | None = None,
    mode: str = "auto",
    verbose: int = 1,
) -> Sensitivity:
    """Measure how the metric of a trained model suffers when one weight alone is cut to each sparsity.

    For each weight that `sparsify` would make sparse, and each one that is sparse already, and for each sparsity: the
    smallest magnitudes of that weight are set to zero, the model is evaluated, and the weight gets its values back,
    every bit, also when the analysis is interrupted or fails. Nothing is trained, and nothing compiled again; beside
    the state of the metrics, which every evaluation leaves behind, the model is as before. That is the analysis by
    which Han et al. choose the sparsity of each layer (2015, arXiv 1506.02626, section 4.1; DSD, ICLR 2017, arXiv
    1607.04381).

    It takes one evaluation for each weight and sparsity: a few thousand examples will do, of a validation set, as the
    choice is fitted to them.

    Args:
        model: a built and compiled Keras model of any kind.
        data: `(x, y)` or `(x, y, sample_weight)`, a tuple of arrays (or structures of them), or a data set that
            `model.evaluate` can read again and again: a `tf.data.Dataset`, a `keras.utils.PyDataset`. Each evaluation
            should read the same examples.
        sparsities: increasing floats in [0, 1), the shares of positions of a weight that are zero. A weight that is
            sparse already does not change by a cut that is no deeper. At least one unit of each weight stays.
        metric: the name of a metric that the model is compiled with. None: the first, or the loss if there is none.
        include, exclude: which weights, in the terms of `sparsify`.
        batch_size: int, of arrays. None: 32.
        steps: int, batches that each evaluation reads, from the first on. None: all.
        mode: `"max"` where a larger metric is better, `"min"`, or `"auto"`: as `ModelCheckpoint` decides.
        verbose: 1 shows a progress bar, 2 one line, 0 nothing.

    Returns:
        A `Sensitivity`, which prints as a table, has a `plot`, and chooses sparsities by what they cost.

    Raises:
        TypeError: something that is no model of Keras 3.
        ValueError: a model that is not built or not compiled, an argument out of range, a selector or metric that there
            is not, data of another kind, or no weight to analyse. The model is as it was before.

    Example:

    >>> report = keras_dsr.sensitivity(model, (x_validation, y_validation), batch_size=256)
    >>> print(report)
    >>> keras_dsr.sparsify(model, distribution=report.choose(max_drop=0.005), mask="magnitude")
    """
    check_model(model, "sensitivity", kind=keras.Model)
    sparsities = _checked_sparsities(sparsities)
    check_verbose(verbose, "sensitivity")
    if metric is not None and not isinstance(metric, str):
        raise ValueError(f"sensitivity(metric=...) must be None or the name of a metric. Received: metric={metric!r}")
    if not is_one_of(mode, MODES):
        raise ValueError(f"sensitivity(mode=...) must be 'auto', 'max' or 'min'. Received: mode={mode!r}")
    evaluation = {**readable(data, batch_size, steps), "batch_size": batch_size, "steps": steps}
    chosen, sparse = _analysed(model, include, exclude)

    def evaluate() -> dict[str, float]:
        return model.evaluate(**evaluation, verbose=0, return_dict=True)

    with kept_whole(model):
        logs = evaluate()
        modes = modes_of(model, logs)
        metric, mode = judged_by(metric, mode, modes)
        baseline = finite(metric, logs[metric])
        progress = keras.utils.Progbar(len(chosen) * len(sparsities), verbose=verbose, unit_name="cut")
        rows = []
        for one in chosen:
            values = []
            weight = sparse.get(id(one.variable))
            for value in _cut_values(one, weight, sparsities, lambda: evaluate()[metric], baseline):
                values.append(float(value))
                progress.add(1)
            rows.append(SensitivityRow(one.name, one.shape, tuple(values)))
    return Sensitivity(metric, mode, baseline, sparsities, tuple(rows))


def _analysed(model, include, exclude) -> tuple[list[Candidate], dict[int, SparseWeight | CompactWeight]]:
    """The weights to analyse, and those of the model that are sparse, by the identity of their variables."""
    found, _ = built_candidates(model, "sensitivity")
    if not getattr(model, "compiled", False):
        raise ValueError(
            f"sensitivity(model=...) evaluates the model, and {model.name!r} has not been compiled. Call "
            f"`model.compile(loss=..., metrics=[...])` first. Received: model={model!r}"
        )
    optimizer = sparse_optimizer(model)
    if optimizer is not None and not optimizer.built:
        raise ValueError(
            "sensitivity(model) changes nothing, and the SparseOptimizer that the model is compiled with has not drawn "
            "its masks. Call `model.optimizer.build(model.trainable_variables)` to have it sparse, or compile it with "
            "another optimizer for the analysis."
        )
    sparse = {id(weight.variable): weight for weight in sparse_weights(model)}
    found = [one._replace(obstacle=None) if id(one.variable) in sparse else one for one in found]
    chosen, skipped = choose(
        found,
        include,
        exclude,
        "sensitivity",
        lambda one: None if id(one.variable) in sparse else left_dense_by_default(one),
    )
    if not chosen:
        reasons = ", ".join(f"{one.name!r} ({reason})" for one, reason in skipped[:3])
        raise ValueError(
            f"sensitivity(include=..., exclude=...) leaves no weight to analyse in {model.name!r}. Left out: "
            f"{reasons or 'nothing'}{', ...' if len(skipped) > 3 else ''}. Name with include= what may be cut. "
            f"Received: include={include!r}, exclude={exclude!r}"
        )
    return chosen, sparse


def _cut_values(
    one: Candidate,
    sparse: SparseWeight | CompactWeight | None,
    sparsities: Sequence[float],
    measure: Callable[[], float],
    baseline: float,
) -> Iterator[float]:
    """The metric with one weight cut to each sparsity; a cut that takes nothing leaves the baseline."""
    weight = ops.convert_to_numpy(one.variable)
    if sparse is not None:  # pruned positions may hold anything
        weight = np.where(ops.convert_to_numpy(sparse.mask), weight, np.zeros((), weight.dtype))
    units = SINGLE if sparse is None or sparse.units.are_single else sparse.units
    weight = np.array(weight)
    for sparsity in sparsities:
        kept = magnitude_mask(weight, units.number_at(units.count(one.shape), sparsity), units)
        if not weight[~kept].any():
            yield baseline
            continue
        with trial(one.variable) as keep_only:
            keep_only(kept)
            value = measure()
        yield value


def _checked_sparsities(sparsities: Sequence[float]) -> tuple[float, ...]:
    is_list = isinstance(sparsities, (Sequence, np.ndarray)) and not isinstance(sparsities, (str, bytes))
    given = tuple(sparsities) if is_list and np.ndim(sparsities) else ()
    given = tuple(check_sparsity(sparsity, "sensitivity", "sparsities") for sparsity in given)
    if not given or list(given) != sorted(set(given)):
        raise ValueError(
            "sensitivity(sparsities=...) must be one or more numbers in [0, 1), in increasing order, such as "
            f"(0.5, 0.8, 0.9). Received: sparsities={sparsities!r}"
        )
    return given
