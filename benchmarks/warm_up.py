"""What a reallocation does to the loss under Adam, with and without the warm-up of what has just been grown.

    python -m benchmarks.warm_up --out=runs/warm_up

A perceptron (64-300-100-10, no normalization, sparsity 0.95) learns the 8 x 8 digits by Adam. Every 200 steps SET moves
30 % of the weights of each layer. The loss on all training examples is computed before each of the last reallocations
and after each of the steps that follow; shown is its mean over reallocations and seeds, in percent of that before.

Cost: some 3 minutes on 2 cores.
"""

import pathlib

import keras
import numpy as np
from absl import app, flags

import keras_dsr as dsr
from keras_dsr.saving.atomic import written_beside

_OUT = flags.DEFINE_string("out", None, "Folder for the plot; none without it.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "How many runs each.", lower_bound=1)

PERIOD, LEARNED, SHOWN, STEPS = 200, 1000, (1, 2, 5, 10, 20, 50, 100, 200), 3000


def losses(seed: int, warm_up: bool) -> np.ndarray:
    """The loss before each reallocation after the first `LEARNED` steps, and after each of the steps that follow it.

    Returns:
        A float array of shape `(reallocations, 1 + PERIOD)`; the first of each row is that before.
    """
    from sklearn.datasets import load_digits

    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    sizes = ((300, "relu"), (100, "relu"), (10, None))
    layers = [dsr.SparseDense(units, activation=activation, sparsity=0.95) for units, activation in sizes]
    model = keras.Sequential([keras.Input((64,)), *layers])
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    reallocator = dsr.Reallocator(model, dsr.methods.SET(0.3), period=PERIOD, seed=seed, warm_up=warm_up)
    rows: list[list[float]] = []
    for step in range(1, STEPS + 1):
        some = rng.integers(0, len(x), 64)
        model.train_on_batch(x[some], y[some])
        if step >= LEARNED:
            loss = float(model.test_on_batch(x, y))
            if rows:
                rows[-1].append(loss)
            if step % PERIOD == 0 and step < STEPS:
                rows.append([loss])
        reallocator.step()
    return np.array(rows)


def relative(warm_up: bool) -> np.ndarray:
    """The mean loss of each step after a reallocation, over that before."""
    rows = np.concatenate([losses(seed, warm_up) for seed in range(_SEEDS.value)])
    return (rows / rows[:, :1]).mean(axis=0)


def plot(curves: dict[str, np.ndarray], path: pathlib.Path) -> None:
    """The curves, in percent, as a PNG."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for (name, curve), style in zip(curves.items(), ("-", "--")):
        axes.plot(100 * curve, style, label=name)
    axes.set(xlabel="steps after a reallocation", ylabel="loss, % of that before")
    axes.legend()
    with written_beside(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    plt.close(figure)


def main(_) -> None:
    curves = {"from 0": relative(False), "warm_up=True": relative(True)}
    print("steps after a reallocation  " + "".join(f"{step:>7}" for step in SHOWN))
    for name, curve in curves.items():
        print(f"{name:<28}" + "".join(f"{100 * curve[step]:>6.1f}%" for step in SHOWN))
    if _OUT.value:
        folder = pathlib.Path(_OUT.value)
        folder.mkdir(parents=True, exist_ok=True)
        plot(curves, folder / "warm_up.png")


if __name__ == "__main__":
    app.run(main)
