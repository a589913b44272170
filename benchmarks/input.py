"""How many images a second the input of `train.run` gives, on the processors of this machine.

    python -m benchmarks.input    # about 3 minutes on 2 cores

ImageNet: JPEGs of 500 x 375 pixels and 110 kB, made here of smoothed random noise in a temporary folder, in the format
of TFDS; read (from the system's memory, where files just written are), decoded, cropped, resized and normalized as
training does, in batches of 256. CIFAR-10: images of its size in memory, random, augmented as training does, in batches
of 128. The stream runs at full speed, with nobody who trains; what is in its buffers at first is not counted. Where a
device trains faster than this, it waits. The last column counts the time of the processors alone, which other work on
the machine changes less.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import app, flags
from rich.console import Console
from rich.table import Table

from benchmarks.imagenet import write_imagenet
from train.data.augmentation import crop_and_flip
from train.data.batch_shard import WHOLE, Part
from train.data.in_memory import PREPARATION, InMemory, load_data

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 2048, "JPEGs, each read several times.", lower_bound=512)
flags.DEFINE_integer("batch_size", 256, "Examples in a batch of ImageNet.", lower_bound=1)
flags.DEFINE_integer("rounds", 5, "Timed rounds.", lower_bound=3)
flags.DEFINE_integer("batches", 4, "Batches of ImageNet in a round.", lower_bound=1)
flags.DEFINE_integer("kilobytes", 110, "Size of a JPEG, in 10^3 bytes.", lower_bound=10)

FILES = 16
DIFFERENT = 64  # images; decoding one takes as long however often it is there


def noise(random: np.random.Generator) -> np.ndarray:
    """An image of 375 x 500 pixels in which neighbors are alike: noise of several grains, the coarse ones stronger."""
    image = np.zeros((375, 500, 3))
    for grain in (64, 32, 16, 8, 4, 2, 1):
        coarse = random.normal(size=(375 // grain + 2, 500 // grain + 2, 3))
        image += grain**0.5 * tf.image.resize(coarse, (375, 500), "bilinear").numpy()
    return np.clip(128 + 45 * image / image.std(), 0, 255).astype("uint8")


def jpegs(count: int, size: int) -> list[bytes]:
    """Different JPEGs of about that many bytes: of the qualities, that which comes nearest."""
    random = np.random.default_rng(0)
    images = [noise(random) for _ in range(count)]
    sizes = {quality: len(tf.io.encode_jpeg(images[0], quality=quality).numpy()) for quality in range(30, 100, 2)}
    quality = min(sizes, key=lambda quality: abs(sizes[quality] - size))
    return [tf.io.encode_jpeg(image, quality=quality).numpy() for image in images]


def images_a_second(stream: tf.data.Dataset, batches: int, rounds: int) -> tuple[list[float], float]:
    """The rates of the rounds, and the images in a second of one processor, over all of them.

    Before them, as many batches as two rounds have are read, to fill the buffers.
    """
    batch_size = stream.element_spec[0].shape[0]
    iterator = iter(stream)
    rates = []
    for index in range(2 + rounds):
        if index == 2:
            processors = time.process_time()
        start = time.perf_counter()
        for _ in range(batches):
            next(iterator)
        rates.append(batch_size * batches / (time.perf_counter() - start))
    return rates[2:], rounds * batches * batch_size / (time.process_time() - processors)


def imagenet(folder: Path, part: Part) -> tf.data.Dataset:
    data = load_data("imagenet2012", str(folder))
    return data.train(0, FLAGS.batch_size, FLAGS.images // FLAGS.batch_size, 0, 10**6, part)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    table = Table(title=f"Images a second, {cores} processors")
    for column in ("stream", "median", "least", "most", "a processor's second"):
        table.add_column(column, justify="left" if column == "stream" else "right")

    def add(name: str, figures: tuple[list[float], float]):
        rates, of_processor = figures
        table.add_row(
            name, *(f"{rate:,.0f}" for rate in (statistics.median(rates), min(rates), max(rates), of_processor))
        )

    with tempfile.TemporaryDirectory() as folder:
        different = jpegs(DIFFERENT, FLAGS.kilobytes * 1000)
        per_file = FLAGS.images // FILES
        write_imagenet(
            Path(folder),
            [[different[(file + number) % DIFFERENT] for number in range(per_file)] for file in range(FILES)],
            [different[:1]],
        )
        size = statistics.mean(map(len, different)) / 1000
        name = f"ImageNet, {size:.0f} kB a JPEG, batch {FLAGS.batch_size}"
        add(name, images_a_second(imagenet(folder, WHOLE), FLAGS.batches, FLAGS.rounds))
        one_of_two = images_a_second(imagenet(folder, Part(0, 2)), FLAGS.batches, FLAGS.rounds)
        add(f"{name}: one of two processes, its own images", one_of_two)
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (50_000, 32, 32, 3)).astype("uint8"), np.arange(50_000) % 10
    assert PREPARATION["cifar10"]["augment"] is crop_and_flip
    cifar = InMemory(images, labels, images[:1], labels[:1], **PREPARATION["cifar10"])
    add("CIFAR-10's size, in memory, batch 128", images_a_second(cifar.train(0, 128, 390, 0, 10**6), 200, FLAGS.rounds))
    Console().print(table)


if __name__ == "__main__":
    app.run(main)
