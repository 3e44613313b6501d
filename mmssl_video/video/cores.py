"""Number of available processors."""

import os


def available_cores() -> int:
    """Number of cores that this process may use; of the machine, if the system does not say."""
    if hasattr(os, 'sched_getaffinity'):  # only on Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
