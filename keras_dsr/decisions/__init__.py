"""Pure decisions: functions of tensors in `keras.ops`, of fixed shapes, that know nothing of models."""
