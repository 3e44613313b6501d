"""End all processes of a run with the same message when one of them fails."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.dist import get_rank, get_world_size
from mmengine.logging import MessageHub
from torch import distributed

from mmssl_video.errors import UserError, message_of

ERROR = 'mmssl_video/error'  # key in the store: message of the first process that failed
WAITED = 'mmssl_video/waited/{rank}'  # key in the store: set by a process with a failed collective
PATIENCE = 5  # seconds to wait for the message of another process


@contextmanager
def shared_errors() -> Iterator[None]:
    """End all processes of a run with one line, the same in each.

    A process that fails breaks the collectives of the others, and their network tracebacks would
    hide its message. Here, it writes the message to the store of the process group, and the others
    raise it as their own. If a process ended without a message, or does not answer within
    ``env_cfg.dist_cfg.timeout`` seconds, the others name it and the iteration.

    Raises:
        UserError: In a process with a failed collective.
    """
    try:
        yield
    except Exception as error:
        if not distributed.is_initialized() or get_world_size() == 1:
            raise
        store = distributed.distributed_c10d._get_default_store()
        if _of_a_collective(error):
            reason = _reason(store, error)
            if reason is None:
                raise
            raise UserError(reason) from error
        if isinstance(error, UserError):
            told = message_of(error)
        else:
            first_line = next(iter(str(error).splitlines()), '')
            told = f'process {get_rank()} failed: {type(error).__name__}: {first_line}'
        store.compare_set(ERROR, '', told)
        raise


def _of_a_collective(error: Exception) -> bool:
    """Whether an error comes from gloo or NCCL. Torch has no specific type for all of them."""
    return isinstance(error, distributed.DistError) or (
        type(error) is RuntimeError and bool(re.search('gloo|NCCL|Timed out', str(error)))
    )


def _reason(store: distributed.Store, error: Exception) -> str | None:
    """Find why a collective has failed; ``None`` if all processes are there (reason unknown)."""
    try:
        store.set(WAITED.format(rank=get_rank()), '')
        told = time.monotonic() + PATIENCE
        while not store.check([ERROR]) and time.monotonic() < told:
            time.sleep(0.1)
        if store.check([ERROR]):
            return store.get(ERROR).decode()
        ranks = range(get_world_size())
        silent = [rank for rank in ranks if not store.check([WAITED.format(rank=rank)])]
    except RuntimeError:
        silent = [0]  # the store's own process
    if not silent:
        return None
    who = f'process {", ".join(map(str, silent))}'
    iteration = MessageHub.get_current_instance().get_info('iter', 0) + 1
    if 'timed out' in str(error).lower() or 'timeout' in str(error).lower():
        return (
            f'{who} did not answer in iteration {iteration}: stopped, or busy for longer than '
            'env_cfg.dist_cfg.timeout seconds; check its machine, then continue with --resume'
        )
    return (
        f'{who} ended without an error message in iteration {iteration}: killed, perhaps for lack '
        'of memory; see the log of its machine, then continue with --resume'
    )
