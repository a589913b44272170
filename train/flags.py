"""The command line of the programs: the fields of `Settings` as flags, under the same names."""

import dataclasses
import os

import tensorflow as tf
from absl import flags, logging

from keras_dsr.ops.sparsity_distributions import DISTRIBUTIONS
from train.backend import BACKENDS
from train.data.in_memory import DATASETS
from train.experiment.network import NETWORKS
from train.experiment.precision import PRECISIONS
from train.experiment.settings import Settings
from train.methods import METHODS
from train.recipes import RECIPES

flags.disclaim_key_flags()  # those that are defined here are flags of the program, which `--help` shows


def define_flags(*left_out: str) -> None:
    """Define a flag for each field of `Settings`, but for those left out."""
    text, whole, real, switch = flags.DEFINE_string, flags.DEFINE_integer, flags.DEFINE_float, flags.DEFINE_bool
    definitions = {
        "model": (text, f"Network: {', '.join(NETWORKS)} (lenet_300_100)."),
        "dataset": (text, f"Data set: {', '.join(DATASETS)} (digits)."),
        "data_dir": (text, "Folder of prepared TensorFlow Datasets (where TFDS keeps them)."),
        "backend": (text, f"Backend of Keras: {', '.join(BACKENDS)} (KERAS_BACKEND, or tensorflow)."),
        "method": (text, f"Method: {', '.join(METHODS)}, or your own as module:Name (dsr; static with --mask_from)."),
        "sparsity": (real, "Share of kernel weights that are zero, in [0, 1) (the recipe's)."),
        "epochs": (whole, "Epochs; the recipe's schedules are stretched to them (the recipe's)."),
        "batch_size": (whole, "Examples in a step (the recipe's)."),
        "precision": (text, f"What layers compute in: {', '.join(PRECISIONS)} (float32)."),
        "steps_per_epoch": (whole, "End every epoch after so many steps (the whole training set)."),
        "seed": (whole, "Fixes the first weights, the order of the data, and what the method draws."),
        "depth": (whole, "Depth of wide_resnet, 6n + 4 (28)."),
        "width": (real, "Width of wide_resnet; of other networks, a factor on every width (the recipe's)."),
        "dropout": (real, "Fraction of hidden units dropped in training, of networks that have it (the recipe's)."),
        "train_examples": (whole, "Examples to train on, the first ones (all)."),
        "label_noise": (real, "Share of the labels to train on that are wrong, in [0, 1] (the recipe's)."),
        "target": (real, "DSR, SET: weights moved in a reallocation; below 1, of the active (the recipe's)."),
        "period": (text, "Steps between reallocations, or 'recipe' (the recipe's, in proportion to the run's length)."),
        "pattern": (
            text,
            "What moves as a whole: element, kernel (slices), 4x1 (blocks), 2:4, fan_in (element).",
        ),
        "distribution": (text, f"Of the budget over the layers: {', '.join(DISTRIBUTIONS)} (uniform)."),
        "last_layer_at_least": (whole, "Weights that the last sparse layer has at first (its share)."),
        "stop_at": (whole, "The epoch from which on no weights move (the recipe's)."),
        "mask_from": (text, "Folder of a finished run whose final mask to train with; it does not change."),
        "init_from": (text, "Beside --mask_from: a run, for the weights it began with, or 'random' for new ones."),
        "recipe": (text, f"Hyperparameters: {', '.join(RECIPES)} (by network and data set)."),
        "out": (text, "Folder of results (runs/<name of the run>)."),
        "resume": (switch, "Go on with the run in --out after its last complete epoch."),
        "overwrite": (switch, "Remove what --out holds of an earlier run, and start again."),
    }
    for field in dataclasses.fields(Settings):
        if field.name not in left_out:
            define, meaning = definitions[field.name]
            define(field.name, field.default, meaning)


def define_cluster_flags() -> None:
    """Define the flags by which several devices or processes train together; the environment is Keras's own."""
    environment = {
        name: os.environ.get(f"KERAS_DISTRIBUTION_{name}") for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
    }
    address = environment["JOB_ADDRESSES"]
    whole = flags.DEFINE_integer
    whole("devices", None, "How many devices of this machine train (every GPU, else one).")
    flags.DEFINE_string(
        "coordinator",
        address and address.split(",")[0],
        "Of several processes: host:port where process 0 listens (KERAS_DISTRIBUTION_JOB_ADDRESSES).",
    )
    whole("num_processes", environment["NUM_PROCESSES"], "How many processes (KERAS_DISTRIBUTION_NUM_PROCESSES).")
    whole("process_id", environment["PROCESS_ID"], "Which one this is, from 0 on (KERAS_DISTRIBUTION_PROCESS_ID).")


def cluster_from_flags() -> dict:
    """The arguments of `train.distributed.cluster.joined` that the command line or the environment gives."""
    return {name: flags.FLAGS[name].value for name in ("devices", "coordinator", "num_processes", "process_id")}


def quiet_libraries() -> None:
    """Keep the notes that TensorFlow and absl make about their own work out of the output; warnings stay."""
    logging.set_verbosity(logging.WARNING)
    tf.get_logger().setLevel("WARNING")


def settings_from_flags() -> Settings:
    """The settings that the command line asks for."""
    names = [field.name for field in dataclasses.fields(Settings) if field.name in flags.FLAGS]
    values = {name: flags.FLAGS[name].value for name in names}
    target = values.get("target")
    if target is not None and target >= 1 and target.is_integer():
        values["target"] = int(target)
    period = values.get("period")
    if period is not None and period.isdecimal():
        values["period"] = int(period)
    return Settings(**values)
