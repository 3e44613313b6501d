"""What a user can fix is one line, and a mistake of the program is a traceback."""

import errno
import os

import pytest

from mmssl_video.errors import UserError, one_line_errors


@one_line_errors
def fail(error):
    """A tool that raises an error."""
    raise error


def outcome(error, capsys):
    """Its exit status and what it says."""
    with pytest.raises(SystemExit) as stop:
        fail(error)
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    'number', [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO, errno.EMFILE]
)
def test_errors_of_the_machine_are_one_line(number, capsys):
    reason = os.strerror(number)
    remedy = (
        'check space (`df`), permissions and `ulimit -n`, then run the same command again, '
        'a training with --resume\n'
    )
    for names, shown in ((('x/20.py',), 'x/20.py: '), ((), '')):
        said = outcome(OSError(number, reason, *names), capsys)
        assert said == (2, f'error: {shown}{reason}; {remedy}')


def test_a_mistake_of_the_program_has_its_traceback(capsys):
    assert outcome(UserError('a line'), capsys) == (2, 'error: a line\n')
    for error in (FileNotFoundError(errno.ENOENT, 'no'), OSError('no number'), TypeError()):
        with pytest.raises(type(error)):
            fail(error)
