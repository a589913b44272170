# %% [markdown]
# # Fine-tune a trained model at 0.9
#
# A Keras model that is trained already loses nine tenths of its weights, and trains on for a few epochs. Pretrained
# weights would need a download, so the first cell trains the model that is taken as given.
#
# It needs scikit-learn, and takes about half a minute on two CPU cores.

# %%
import os

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_dsr as dsr

keras.utils.set_random_seed(0)
x, y = load_digits(return_X_y=True)
x = x.reshape(-1, 8, 8, 1).astype("float32") / 16
x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)

trained = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
        keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dense(10, name="classes"),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
trained.compile("adam", loss, metrics=["accuracy"])
trained.fit(x, y, epochs=12, verbose=0)
trained.save("trained.keras")


def accuracy(model: keras.Model) -> str:
    return f"{model.evaluate(x_test, y_test, verbose=0)[1]:.1%}"


print("trained dense:", accuracy(trained))

# %% [markdown]
# ## How much does each layer tolerate?
#
# `sensitivity` prunes one layer at a time, and measures the accuracy without any training. Take examples for it that
# are not the test set.

# %%
print(dsr.sensitivity(trained, (x[:500], y[:500]), sparsities=(0.5, 0.8, 0.9, 0.95), verbose=0))

# %% [markdown]
# ## Prune, then train on
#
# `mask="magnitude"` keeps the largest weights. `distribution="erk"` makes large layers sparser than small ones, with
# 0.9 in all. Nothing is trained in this cell: the accuracy shows what the cut costs by itself.

# %%
model = keras.models.load_model("trained.keras")
print(dsr.sparsify(model, sparsity=0.9, mask="magnitude", distribution="erk"))
print("cut:", accuracy(model))

# %% [markdown]
# With `DSRCallback` the weights that are left may still move. The learning rate is that of the end of a training, not
# of its beginning.

# %%
model.compile(keras.optimizers.Adam(5e-4), loss, metrics=["accuracy"])
callback = dsr.DSRCallback(target=0.05, period=20)
history = model.fit(x, y, epochs=4, verbose=0, validation_data=(x_test, y_test), callbacks=[callback])
print("after each epoch:", " ".join(f"{score:.1%}" for score in history.history["val_accuracy"]))

# %% [markdown]
# ## Does the distribution matter?
#
# The same with a uniform sparsity, which prunes the small layer of the classes as hard as the others.

# %%
uniform = keras.models.load_model("trained.keras")
dsr.sparsify(uniform, sparsity=0.9, mask="magnitude")
print("cut:", accuracy(uniform))
uniform.compile(keras.optimizers.Adam(5e-4), loss, metrics=["accuracy"])
uniform.fit(x, y, epochs=4, verbose=0, callbacks=[dsr.DSRCallback(target=0.05, period=20)])
print("after epoch 4:", accuracy(uniform))

# %% [markdown]
# ## Two files
#
# Both are written by `dsr.save`, and load in plain Keras.

# %%
dsr.save(trained, "dense.keras")
dsr.save(model, "sparse.keras")
for path in ("dense.keras", "sparse.keras"):
    print(f"{path:13} {os.path.getsize(path):9,} bytes", accuracy(keras.models.load_model(path)))
