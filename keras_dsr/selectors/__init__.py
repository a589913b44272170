"""Which weights of a model are meant, and by which words: one language for all functions that choose among weights."""
