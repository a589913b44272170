"""Pure functions of tensors, in `keras.ops` and of fixed shapes: exact selection and sharing, patterns, random keys."""
