"""Result files that are either complete or absent, never half written."""

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from zlib import crc32

from mmssl_video.errors import UserError, unwritable
from mmssl_video.settings import differences, tell


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path next to ``path`` and move it there if the block succeeds.

    Missing parent folders are created. If the block fails or is interrupted, an older file at
    ``path`` is unchanged, and no temporary file is left. A link stays, and the file that it points
    to is replaced. A device, such as ``/dev/null``, is given itself.

    Args:
        path: Path of the file.

    Yields:
        Path: The path to write to.

    Raises:
        UserError: If the file cannot be written: it is a folder, no permission, no space.
    """
    path, target = Path(path), Path(os.path.realpath(path))
    # Most file systems allow 255 bytes. With the process id, two runs that write the same result do
    # not share a temporary file.
    name = os.fsencode(target.name)
    name = target.name if len(name) < 200 else f'{crc32(name):x}'
    temporary = target.parent / f'.{name}.{os.getpid()}.tmp'
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            yield path
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open('r+b') as written:
                os.fsync(written.fileno())  # the content must be on disk before the name
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def claim_folder(folder: str | os.PathLike, settings: dict, content: str) -> None:
    """Write the settings of a folder's content, or compare them with those already there.

    Args:
        folder: The folder; its ``settings.json`` is written or read.
        settings: Values that ``json`` can write.
        content: A word for the folder's content, for the message.

    Raises:
        UserError: If the folder has other settings, or a file of them that cannot be read.
    """
    path = Path(folder) / 'settings.json'
    if not path.exists():
        write_json(path, settings)
        return
    try:
        earlier = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f'{path}: cannot be read ({error}); move or delete {folder}, or choose another folder'
        ) from error
    if differ := differences(earlier, settings):
        raise UserError(
            f'{folder} holds {content} of other settings ({tell(differ)}); use the same settings, '
            'or move or delete this folder'
        )


def make_folder(path: str | os.PathLike) -> None:
    """Make a folder and its parents, unless it exists.

    Raises:
        UserError: If it cannot be made.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error, 'made as a folder') from error


def reserve_folder(folder: str | os.PathLike) -> TextIO | None:
    """Reserve a work directory for this process.

    The reservation ends when the returned file is closed or the process ends, however it ends;
    forks of the process do not hold it. Systems and file systems without locks reserve nothing.

    Args:
        folder: An existing folder; the lock is its ``.lock``, which stays.

    Returns:
        The open file that holds the lock, or ``None`` without locks.

    Raises:
        UserError: If another process has reserved the folder; the message names the process.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        file = Path(folder, '.lock').open('a+')
    except OSError:  # another user's
        return None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        with file:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return None
            file.seek(0)
            raise UserError(
                f'{folder}: {file.read() or "another process"} is running there; wait for its end '
                'or stop it, or choose another folder'
            ) from error
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}')
    file.flush()
    return file


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Write ``content`` as indented JSON, atomically; NaN and infinity are refused.

    Args:
        path: Path of the file.
        content: Values that ``json`` can write.

    Raises:
        ValueError: If a number is not finite; JSON cannot represent it.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + '\n')
