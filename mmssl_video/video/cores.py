"""How many processors there are to work with."""

import os


def available_cores() -> int:
    """Number of cores that this process may use; of the machine, where the system does not say."""
    if hasattr(os, 'sched_getaffinity'):  # Linux alone
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
