"""Where channels are, as Keras is set."""

import keras


def channels_axis() -> int:
    """The axis of channels in images: -1, or 1 with `keras.config.set_image_data_format("channels_first")`."""
    return -1 if keras.config.image_data_format() == "channels_last" else 1
