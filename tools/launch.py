"""torch.distributed.run (torchrun), ended by the status of the process that failed first.

Its own way is a traceback of the launcher, over the line that tells what is wrong. Takes the same
arguments; dist.sh calls it. On SIGTERM, processes have a minute to save.
"""

import logging
import signal
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import get_args_parser, main


def launch() -> int:
    """Run, and return the exit status: that of a shell, where a signal has ended the process."""
    logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)
    patience = ['--shutdown-timeout=60']
    if patience[0].split('=')[0] not in get_args_parser().format_help():  # of an older torch
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
