"""torch.distributed.run (torchrun) with the exit status of the process that failed first.

The original prints a traceback of the launcher, which hides the line that says what is wrong. This
takes the same arguments; dist.sh calls it. After SIGTERM, processes have a minute to save.
"""

import logging
import signal
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import get_args_parser, main


def launch() -> int:
    """Run, and return the exit status; for a process ended by a signal, as a shell does."""
    logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)
    patience = ['--shutdown-timeout=60']
    if patience[0].split('=')[0] not in get_args_parser().format_help():  # an older torch
        patience = []
    try:
        main([*patience, *sys.argv[1:]])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode
        name = signal.Signals(-failure.exitcode).name
        print(f'error: process {rank} was ended by {name}', file=sys.stderr)
        return 128 - failure.exitcode
    except SignalException as error:
        return 128 + error.sigval
    return 0


if __name__ == '__main__':
    sys.exit(launch())
