"""What moves as a whole, as a setting names it."""

from keras_dsr.ops.patterns import Pattern


def pattern_of(text: str) -> Pattern:
    """The pattern that a setting names: `"4x1"` is `(4, 1)`."""
    sizes = text.split("x")
    return (int(sizes[0]), int(sizes[1])) if len(sizes) == 2 and all(map(str.isdecimal, sizes)) else text
