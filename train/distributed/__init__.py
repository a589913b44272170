"""Several processes, on one machine or more: who they are, and the end of all when one ends."""
