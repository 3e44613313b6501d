"""Errors that a user can fix, shown as one line."""

import errno
import functools
import os
import re
import sys
from collections.abc import Callable

# Errors of the system that would also occur for any other video.
NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
MACHINE_FAULTS = {errno.EMFILE, errno.ENFILE, *NO_SPACE}
# Errors of the system that are of a file or its disk, and not of the program.
FILE_FAULTS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE}
AGAIN = 'then run the same command again, a training with `resume=True`'


class UserError(ValueError):
    """A mistake in a file, a config or an argument; the message names it and the remedy.

    Messages write an argument as in Python, in backticks, ```skip_bad=True```, and a setting of the
    config as ```cfg.model.momentum=0.9```. Tools show command-line options instead.
    """


class BadVideoError(UserError):
    """A video that cannot be read.

    Args:
        path: The file, as the user knows it.
        reason: Why it cannot be read, in a few words.
        remedy: What to do about it.
    """

    def __init__(
        self,
        path: str,
        reason: str | None = None,
        remedy: str = 'replace it, or remove it from the list and the folder',
    ) -> None:
        # torch raises a worker's error again with only its text.
        super().__init__(path if reason is None else f'{path} cannot be read ({reason}); {remedy}')
        self.path, self.reason, self.remedy = path, reason, remedy

    def __reduce__(self) -> tuple:
        return type(self), (self.path, self.reason, self.remedy)


class UnusableVideoError(BadVideoError):
    """A video that can be read, but not used; arguments as for ``BadVideoError``."""

    def __str__(self) -> str:
        return f'{self.path}: {self.reason}; {self.remedy}'


MISTAKES = (
    UserError,
    TypeError,
    KeyError,
    AttributeError,
    NameError,
    ImportError,
    NotImplementedError,
)


def bad_video(error: Exception, path: str) -> BadVideoError | None:
    """Turn an error into a ``BadVideoError`` for the video being read; ``None`` for a mistake.

    Decoders and transforms raise their own types of errors for broken videos. The types that come
    from a wrong config, wrong code or a missing package are mistakes: every other video would fail
    too.

    Args:
        error: The error that was raised.
        path: The video, as the user knows it.

    Raises:
        UserError: If the machine is at fault, not the video: too many open files, a full disk.
    """
    if getattr(error, 'errno', None) in MACHINE_FAULTS:
        raise UserError(
            f'{path}: {os.strerror(error.errno)}; the cause is this machine, not the video: '
            'check `ulimit -n` and `df`, then run it again'
        ) from error
    if isinstance(error, BadVideoError):
        return error
    if isinstance(error, MISTAKES):
        return None
    line = f'{type(error).__name__}: {error}'.splitlines()[0]
    return BadVideoError(path, ' '.join(line.split()))


def unwritable(path: str | os.PathLike, error: OSError, action: str = 'written') -> UserError:
    """Turn an error of the system into one that names what is being written, and the remedy."""
    remedy = f'free space, {AGAIN}' if error.errno in NO_SPACE else 'choose another path'
    return UserError(f'{path}: cannot be {action} ({error.strerror or error}); {remedy}')


def message_of(error: UserError) -> str:
    """The message of an error, also of one from a worker process of a data loader.

    torch raises such an error again, with the whole traceback as its message.
    """
    origin = re.findall(r'^mmssl_video\.[\w.]*Error: (.*)', str(error), re.MULTILINE)
    return origin[-1] if origin else str(error)


def as_options(message: str) -> str:
    """Write the arguments in a message as command-line options.

    Example:
        >>> as_options('set `batch_size=1`, leave them out with `skip_bad=True`')
        'set --batch-size 1, leave them out with --skip-bad'
        >>> as_options('extract with `per_clip=False` and `cfg.feature_head=None`')
        'extract without --per-clip and --cfg-options feature_head=None'
    """

    def option(match: re.Match) -> str:
        before, name, value = match.groups('')
        dashed = '--' + name.replace('_', '-')
        if name.startswith('cfg.'):
            return f'{before}--cfg-options {name[4:]}={value}'
        if value == 'False':
            return f'without {dashed}'
        return before + dashed + ('' if value == 'True' else f' {value}')

    return re.sub(r'(with )?`((?:cfg\.)?[\w.]+)=([^`]*)`', option, message)


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Make a tool end with one line instead of a traceback if the user can fix the cause.

    ``error: …`` and exit status 2 for a :class:`UserError`, also one from a worker process of a
    data loader, and for an error of the machine: a full disk, no permission.
    """

    @functools.wraps(main)
    def run(*args, **kwargs) -> None:
        try:
            main(*args, **kwargs)
        except UserError as error:
            message = message_of(error)
        except OSError as error:
            if error.errno not in MACHINE_FAULTS | FILE_FAULTS:
                raise
            where = f'{error.filename}: ' if error.filename else ''
            message = (
                f'{where}{os.strerror(error.errno)}; check space (`df`), permissions and '
                f'`ulimit -n`, {AGAIN}'
            )
        else:
            return
        print(f'error: {as_options(message)}', file=sys.stderr)
        sys.exit(2)

    return run
