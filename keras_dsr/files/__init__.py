"""Files that need nothing of keras_dsr to load: what is written of a model, and how."""
