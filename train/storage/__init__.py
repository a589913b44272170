"""The folder of a run: its files, its checkpoint, its lock, and what is read of another run's."""
