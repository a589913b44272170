"""Preparing images: every function is pure, its random numbers depend on the seed it is given alone."""

import tensorflow as tf

from train.data.batch_shard import WHOLE, Part


def normalize(images: tf.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> tf.Tensor:
    """Images of any shape `(..., channels)` as float32 with the given mean and standard deviation taken out.

    Args:
        images: tensor of any dtype.
        mean: one number a channel, in the units of the pixels.
        std: likewise.
    """
    return (tf.cast(images, tf.float32) - tf.constant(mean)) / tf.constant(std)


def crop_and_flip(images: tf.Tensor, seed: tf.Tensor, part: Part = WHOLE, padding: int = 4) -> tf.Tensor:
    """Pad by reflection, cut a random window of the old size out of each image, and flip half of them left to right.

    Args:
        images: tensor of shape `(batch, height, width, channels)`.
        seed: int tensor of shape `(2,)`.
        part: which part of a batch they are: what is done to an image does not depend on how the batch is divided.
        padding: int, pixels on each side.

    Returns:
        A tensor of the shape and dtype of `images`.
    """
    examples, height, width, _ = images.shape
    batch = examples * part.count
    rows_of_part = part.rows(batch)
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    padded = tf.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="REFLECT")
    offsets = tf.random.stateless_uniform((2, batch, 1), crop_seed, 0, 2 * padding + 1, dtype=tf.int32)
    offsets = offsets[:, rows_of_part]
    rows = offsets[0] + tf.range(height)
    columns = offsets[1] + tf.range(width)
    flipped = tf.random.stateless_uniform((batch, 1), flip_seed)[rows_of_part] < 0.5
    columns = tf.where(flipped, columns[:, ::-1], columns)
    windows = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(windows, columns, axis=2, batch_dims=1)


def random_resized_crop(encoded: tf.Tensor, seed: tf.Tensor, size: int = 224) -> tf.Tensor:
    """A random window (8 to 100% of the area, aspect 3/4 to 4/3) of a JPEG, resized, and flipped half of the times.

    Args:
        encoded: scalar string tensor, a JPEG.
        seed: int tensor of shape `(2,)`.
        size: int, pixels on each side of the result.

    Returns:
        A float32 tensor of shape `(size, size, 3)`, pixels in [0, 255].
    """
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.image.extract_jpeg_shape(encoded),
        bounding_boxes=tf.zeros((1, 0, 4)),
        seed=crop_seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    image = _decode_window(encoded, begin[0], begin[1], extent[0], extent[1], size)
    return tf.image.stateless_random_flip_left_right(image, flip_seed)


def central_crop(encoded: tf.Tensor, size: int = 224, resized: int = 256) -> tf.Tensor:
    """The middle of a JPEG whose shorter side is resized to `resized`, as a float32 `(size, size, 3)` in [0, 255]."""
    shape = tf.image.extract_jpeg_shape(encoded)
    side = tf.cast(tf.reduce_min(shape[:2]) * size / resized, tf.int32)
    return _decode_window(encoded, (shape[0] - side) // 2, (shape[1] - side) // 2, side, side, size)


def _decode_window(encoded, top, left, height, width, size):
    image = tf.image.decode_and_crop_jpeg(encoded, tf.stack((top, left, height, width)), channels=3)
    return tf.ensure_shape(tf.image.resize(image, (size, size)), (size, size, 3))
