"""What Keras offers for a layer's kernel and a sparse or tied layer cannot do."""


class RefusesVariants:
    """Mixin for a Keras layer whose kernel is not the variable that it stores: no LoRA, no quantization."""

    why_not = "its kernel is no variable of its own"

    def enable_lora(self, *args, **kwargs):
        self._refuse("have LoRA weights", "`keras_dsr.strip(model)` first, and `enable_lora` on its stock layers")

    def _check_quantize_args(self, *args, **kwargs):
        # Keras's `quantize` calls this first. Overriding `quantize` would not do: Keras binds it to the layer at its
        # construction, so it would still refuse after `strip`.
        self.refuse_quantization()

    def refuse_quantization(self) -> None:
        """Raise `NotImplementedError` in words that say what to do instead."""
        self._refuse("be quantized", "`keras_dsr.strip(model)` first, and quantize the stock layers that it leaves")

    def _refuse(self, what: str, remedy: str) -> None:
        raise NotImplementedError(f"{type(self).__name__} {self.name!r} cannot {what}: {self.why_not}. Call {remedy}.")
