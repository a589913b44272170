"""Data sets, in memory or read as they are needed, and how their examples are augmented and put in order."""
