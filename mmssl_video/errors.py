"""Errors that a user can mend, shown as one line."""

import functools
import re
import sys
from collections.abc import Callable


class UserError(ValueError):
    """A mistake in a file, a config or a command line: names the thing and the remedy."""


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Make a tool end with one line instead of a traceback where the user can mend the cause.

    ``error: …`` and exit status 2 for a :class:`UserError`, also one from a worker process of a
    data loader; ``interrupted`` and 130, as a shell has it, for Ctrl-C.
    """

    @functools.wraps(main)
    def run(*args, **kwargs) -> None:
        try:
            main(*args, **kwargs)
        except UserError as error:
            # From a worker, torch raises the class again with the whole traceback as its message.
            origin = re.findall(rf'^\S*{UserError.__name__}: (.*)', str(error), re.MULTILINE)
            print(f'error: {origin[-1] if origin else error}', file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            print('interrupted', file=sys.stderr)
            sys.exit(130)

    return run
