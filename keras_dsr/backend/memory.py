"""How much memory there is: what is dense may not fit."""

import os


def machine_memory() -> int | None:
    """The bytes of this machine's memory; None where the system does not say."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
