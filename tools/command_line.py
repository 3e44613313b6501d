"""Shared parts of the tools' command lines.

Importing torch, MMAction2 and mmssl_video takes seconds. So a tool reads its arguments first, and
imports them inside its `main`. Then `--help` and errors in arguments appear at once. This module
follows the same rule.

    def parse_args() -> argparse.Namespace:
        parser = Parser(__doc__)
        parser.add_config('config of pretraining')
        return parser.parse_args()


    @tool(parse_args)
    def main(args: argparse.Namespace) -> None:
        from mmssl_video.engine.training import train

        train(load_config(args))
"""

import argparse
import errno
import functools
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config


PATIENCE = 10  # seconds in which a repeated SIGTERM is ignored


class Parser(argparse.ArgumentParser):
    """Parse arguments; methods add those that several tools have.

    Args:
        description: Shown by ``--help`` with its line breaks, as is the epilog.
        epilog: Shown at the end.
    """

    def __init__(self, description: str, epilog: str | None = None) -> None:
        super().__init__(
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def add_config(self, description: str, example: str = 'train_dataloader.batch_size=16') -> None:
        """Add CONFIG and ``--cfg-options``, for :func:`load_config`."""
        self.add_argument('config', help=description)
        self.add_cfg_options(example)

    def add_cfg_options(self, example: str = 'train_dataloader.batch_size=16') -> None:
        """Add ``--cfg-options`` alone, for a tool that does not need one CONFIG."""
        self.add_argument(
            '--cfg-options',
            nargs='+',
            type=_key_value,
            metavar='KEY=VALUE',
            help=f'override settings of the config, e.g. {example}; lists as key="[a,b]", nested '
            'ones as key="[(a,b),(c,d)]"',
        )

    def add_checkpoint(self) -> None:
        """Add CHECKPOINT, for :func:`find_checkpoint`."""
        self.add_argument('checkpoint', help="checkpoint file, or 'none' for random weights")

    def add_launcher(self) -> None:
        """Add ``--launcher`` and ``--local_rank``, which the launching scripts set."""
        self.add_argument(
            '--launcher',
            choices=['none', 'pytorch', 'slurm', 'mpi'],
            default='none',
            help='who started the processes; set by dist_*.sh and slurm_*.sh (default none)',
        )
        # torch.distributed.launch passes it; torchrun does not.
        self.add_argument(
            '--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS
        )

    def add_trust(self) -> None:
        """Add ``--trust``."""
        self.add_argument(
            '--trust',
            action='store_true',
            help='load a checkpoint that holds more than tensors; it can then run any code',
        )

    def add_jobs(self, description: str = 'processes') -> None:
        """Add ``--jobs``."""
        self.add_argument(
            '--jobs',
            type=positive,
            default=available_cores(),
            metavar='N',
            help=f'{description} (default one for each core)',
        )

    def add_allow_different(self) -> None:
        """Add ``--allow-different``, for two sets of features."""
        self.add_argument(
            '--allow-different',
            action='store_true',
            help='also accept features of different checkpoints or settings',
        )

    def add_conversion(self) -> None:
        """Add ``--allow-missing``, ``--allow-unknown`` and ``--trust``, for files of weights."""
        self.add_argument(
            '--allow-missing',
            action='store_true',
            help='convert a file in which keys are missing',
        )
        self.add_argument(
            '--allow-unknown',
            action='store_true',
            help='leave out unknown keys, and list them',
        )
        self.add_trust()

    def parse_args(self, *args, **kwargs) -> argparse.Namespace:
        """Read the arguments, and set the environment's local rank if it has none.

        An ``out`` that is also a file to read is refused.
        """
        arguments = super().parse_args(*args, **kwargs)
        out = getattr(arguments, 'out', None)
        if out is not None and os.path.isfile(out):
            for name, value in vars(arguments).items():
                inputs = value if isinstance(value, list) else [value]
                if name != 'out' and any(_is_file(path, out) for path in inputs):
                    self.error(f'{out} is also a file to read; write to another path')
        if 'local_rank' in arguments:
            os.environ.setdefault('LOCAL_RANK', str(arguments.local_rank))
        return arguments


def _is_file(value: object, file: str | os.PathLike) -> bool:
    """Whether an argument is the path of a file, also through a link."""
    is_path = isinstance(value, (str, os.PathLike)) and os.path.isfile(value)
    return is_path and os.path.samefile(value, file)


def _key_value(text: str) -> str:
    if '=' not in text:
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form KEY=VALUE')
    return text


def _at_least(least: int) -> Callable[[str], int]:
    """Return a ``type`` of arguments that are whole numbers, so many or more."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f'{text} is too few; use {least} or more')
        return value

    return number


positive, count = _at_least(1), _at_least(0)


def available_cores() -> int:
    """Return what `mmssl_video.video.available_cores` does, without importing the package."""
    affinity = getattr(os, 'sched_getaffinity', None)  # only on Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def tool(
    parse_args: Callable[[], argparse.Namespace],
) -> Callable[[Callable[[argparse.Namespace], None]], Callable[[], None]]:
    """Make a tool's ``main`` read its arguments, and report errors of the user in one line.

    The exit status is that of a shell for Ctrl-C (130), SIGTERM (143) and output that nobody reads
    any more (141).

    Args:
        parse_args: Reads the command line; called before anything is imported.
    """

    def decorate(main: Callable[[argparse.Namespace], None]) -> Callable[[], None]:
        @functools.wraps(main)
        def run() -> None:
            args = parse_args()
            if sys.getfilesystemencoding() == 'ascii':
                print('error: Python reads file names as ASCII; set PYTHONUTF8=1', file=sys.stderr)
                sys.exit(2)
            if hasattr(sys.stdout, 'reconfigure'):  # names of files may be of any bytes
                sys.stdout.reconfigure(errors='backslashreplace')
            with stopped_cleanly():
                from mmssl_video.engine.processes import shared_errors
                from mmssl_video.errors import one_line_errors

                one_line_errors(shared_errors()(main))(args)

        return run

    return decorate


@contextmanager
def stopped_cleanly() -> Iterator[None]:
    """If the block is interrupted, let it clean up, and end the process without a traceback."""
    earlier = signal.signal(signal.SIGTERM, _end)
    logs = logging.raiseExceptions
    logging.raiseExceptions = False  # a log on a full disk would print long tracebacks
    try:
        yield
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.ENOSPC):
            _write('\n')  # ends here if the output is the cause
        raise
    finally:
        logging.raiseExceptions = logs
        if signal.getsignal(signal.SIGTERM) is _end:  # else a signal is ending the process
            signal.signal(signal.SIGTERM, earlier or signal.SIG_DFL)
        _write('')


def _end(number: int, _: FrameType | None) -> None:
    """End this process after it has cleaned up.

    The signal often comes twice; only after a while does another one end the process at once.
    Workers often get it too, and torch would report their end as an error.
    """
    patient_until = time.monotonic() + PATIENCE

    def again(number: int, _: FrameType | None) -> None:
        if time.monotonic() > patient_until:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    signal.signal(number, again)
    if hasattr(signal, 'SIGCHLD'):  # not on Windows
        signal.signal(signal.SIGCHLD, lambda *_: None)
    sys.exit(128 + number)


def _write(text: str) -> None:
    """Write text, and output that is still in memory; end without a traceback if this fails."""
    try:
        print(text, end='', flush=True)
    except OSError as error:
        # Python tries again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(141)  # of SIGPIPE, which Windows does not have
        print(f'error: standard output: {error.strerror}', file=sys.stderr)
        sys.exit(2)


def load_config(args: argparse.Namespace) -> 'Config':
    """Load the config, and merge ``--cfg-options`` into it.

    Raises:
        UserError: If there is no such file, or an option has no effect.
    """
    from mmssl_video import config_check

    cfg = config_check.load_config(args.config)
    config_check.apply_options(cfg, config_check.read_options(args.cfg_options))
    return cfg


class Children:
    """Commands in processes of their own, which get SIGTERM when the ``with`` block ends."""

    def __enter__(self) -> 'Children':
        self._running: set[subprocess.Popen] = set()
        self._ended = False
        return self

    def run(self, command: list[str], **options) -> int:
        """Run a command, also in a thread, with options of `subprocess.Popen`.

        Returns:
            Its exit status.
        """
        with subprocess.Popen(command, **options) as child:
            self._running.add(child)
            if self._ended:  # while it started
                child.terminate()
            try:
                return child.wait()
            except BaseException:
                child.terminate()
                child.wait()
                raise
            finally:
                self._running.discard(child)

    def __exit__(self, *_) -> None:
        self._ended = True
        for child in list(self._running):  # of threads
            child.terminate()


def short_warnings() -> None:
    """Print later warnings as one line, without their place in the code."""
    warnings.showwarning = lambda message, *_: print(f'warning: {message}', file=sys.stderr)


def find_checkpoint(args: argparse.Namespace) -> str | None:
    """Return the path of the checkpoint, or ``None`` for random weights.

    Raises:
        UserError: If there is no such file, or the folders above it may not be read.
    """
    from mmssl_video.video.find import require_file

    if args.checkpoint == 'none':
        return None
    require_file(args.checkpoint, 'no such checkpoint')
    return args.checkpoint
