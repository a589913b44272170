# %% [markdown]
# # A character transformer
#
# A small transformer that predicts the next character of Python's documentation, which Python ships as
# `pydoc_data.topics`: trained dense, and with a fifth of its weights.
#
# It needs matplotlib, and takes about a minute and a half on two CPU cores.

# %%
import os
import pydoc_data.topics

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_dsr as dsr

text = "\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
text = "".join(
    character for character in text if character.isascii() and (character.isprintable() or character == "\n")
)
alphabet = sorted(set(text))
codes = np.array([alphabet.index(character) for character in text])
train_codes, test_codes = codes[:-40_000], codes[-40_000:]
print(f"{len(text):,} characters, {len(alphabet)} different ones")

# %% [markdown]
# ## The model
#
# Two blocks of causal attention and a feed-forward layer, of stock layers. A layer of one's own adds the positions; it
# has no kernel, and stays as it is.

# %%
LENGTH, WIDTH = 48, 64


@keras.saving.register_keras_serializable("character_transformer")
class Positions(keras.layers.Layer):
    """Adds a learned vector for each position."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], name="table")

    def call(self, x):
        return x + self.table


def transformer() -> keras.Model:
    keras.utils.set_random_seed(0)
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = Positions(name="positions")(keras.layers.Embedding(len(alphabet), WIDTH)(tokens))
    for _ in range(2):
        y = keras.layers.LayerNormalization()(x)
        x = x + keras.layers.MultiHeadAttention(4, WIDTH // 4)(y, y, use_causal_mask=True)
        y = keras.layers.LayerNormalization()(x)
        x = x + keras.layers.Dense(WIDTH)(keras.layers.Dense(4 * WIDTH, "gelu")(y))
    x = keras.layers.LayerNormalization()(x)
    return keras.Model(tokens, keras.layers.Dense(len(alphabet), name="next")(x))


def windows(codes: np.ndarray, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random pieces of the text, and the same pieces one character later."""
    starts = np.random.default_rng(seed).integers(0, len(codes) - LENGTH - 1, number)[:, None]
    return codes[starts + np.arange(LENGTH)], codes[starts + np.arange(LENGTH) + 1]


# %% [markdown]
# ## Dense, static, DSR
#
# `sparsify` finds the kernels of attention and of the feed-forward layers. The embedding stays dense, and so does the
# last layer here. Both sparse models begin with the same random masks.

# %%
EPOCHS, STEPS, BATCH = 6, 60, 32


def trained(sparse: bool, callbacks=()) -> tuple[keras.Model, list[float]]:
    """A trained model, and its loss on the test text after each epoch."""
    model = transformer()
    if sparse:
        report = dsr.sparsify(model, sparsity=0.8, distribution="erk", exclude="next")
        if not callbacks:
            print(report)
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data, test = windows(train_codes, EPOCHS * STEPS * BATCH, seed=0), windows(test_codes, 512, seed=1)
    losses = []
    for epoch in range(EPOCHS):
        part = slice(epoch * STEPS * BATCH, (epoch + 1) * STEPS * BATCH)
        history = model.fit(
            *(each[part] for each in data),
            batch_size=BATCH,
            initial_epoch=epoch,
            epochs=epoch + 1,
            verbose=0,
            validation_data=test,
            callbacks=list(callbacks),
        )
        losses += history.history["val_loss"]
    return model, losses


runs = {
    "dense": trained(sparse=False),
    "static mask, 0.8": trained(sparse=True),
    "DSR, 0.8": trained(sparse=True, callbacks=[dsr.DSRCallback(target=0.1, period=20, stop_at=5)]),
}
for name, (_, losses) in runs.items():
    print(f"{name:17} test loss {losses[-1]:.3f}")

# %%
figure, axes = plt.subplots(figsize=(6, 3))
for (name, (_, losses)), color, dashes in zip(runs.items(), ("#1f2430", "#7a7a7a", "#0072b2"), ("--", ":", "-")):
    axes.plot(range(1, EPOCHS + 1), losses, color=color, linestyle=dashes, label=name)
axes.set(xlabel="epoch", ylabel="loss on the test text")
axes.legend()
plt.show()

# %% [markdown]
# ## Where the weights are now

# %%
model = runs["DSR, 0.8"][0]
print(dsr.summary(model))

# %% [markdown]
# ## What it writes
#
# After six short epochs: syllables, the shape of words, and what the documentation is fond of.

# %%
rng = np.random.default_rng(0)
written = list(windows(test_codes, 1, seed=2)[0][0])
for _ in range(160):
    logits = model(np.array([written[-LENGTH:]]))[0, -1]
    logits = keras.ops.convert_to_numpy(logits).astype("float64") / 0.7
    chances = np.exp(logits - logits.max())
    written.append(rng.choice(len(alphabet), p=chances / chances.sum()))
print("".join(alphabet[code] for code in written[LENGTH:]))

# %%
dsr.save(runs["dense"][0], "dense.keras")
dsr.save(model, "sparse.keras")
for path in ("dense.keras", "sparse.keras"):
    print(f"{path:13} {os.path.getsize(path):9,} bytes")
