"""Find videos in folders by their names."""

import errno
import os
import os.path as osp
import stat
from collections import deque
from collections.abc import Callable, Iterator

from mmengine.fileio import get_file_backend, list_dir_or_file
from mmengine.fileio.backends import BaseStorageBackend

from mmssl_video.errors import BadVideoError, UserError

VIDEO_SUFFIXES = (
    *('.mp4', '.avi', '.mkv', '.webm', '.mov', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv', '.ts'),
    *('.mts', '.m2ts', '.m2t', '.3gp', '.3g2', '.ogv', '.vob', '.asf', '.divx', '.mpe', '.m2v'),
    *('.f4v', '.mxf', '.qt', '.rm', '.rmvb'),
)
# Folders that operating systems make. Names with a leading dot, such as macOS' `._x.mp4`, are no
# videos either.
SYSTEM_FOLDERS = {
    *('@eaDir', '__MACOSX', 'lost+found', '$RECYCLE.BIN', 'System Volume Information'),
}
KINDS = ((stat.S_ISDIR, 'a folder'), (stat.S_ISFIFO, 'a FIFO'), (stat.S_ISSOCK, 'a socket'))


def one_line(name: str) -> str:
    r"""Write line breaks and tabs of a name as ``\n``, ``\r`` and ``\t``, for a report."""
    return name.translate({ord('\n'): r'\n', ord('\r'): r'\r', ord('\t'): r'\t'})


def is_video(name: str | os.PathLike) -> bool:
    """Whether a file has the suffix of a video, in any case, and is not hidden."""
    name = osp.basename(name)
    return name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith('.')


def is_local(path: str, backend_args: dict | None = None) -> bool:
    """Whether MMEngine reads a path from the local file system, without another backend."""
    return '://' not in path and (backend_args or {}).get('backend', 'local') == 'local'


def find_backend(path: str, backend_args: dict | None = None) -> BaseStorageBackend:
    """Find MMEngine's file backend for a path.

    Raises:
        UserError: If there is none, or its client is not installed.
    """
    try:
        return get_file_backend(path, backend_args=backend_args, enable_singleton=True)
    except (KeyError, ImportError) as error:
        raise UserError(
            f'{path}: MMEngine has no file backend for it ({type(error).__name__}: {error}); '
            'install its client or register it, or give a local path'
        ) from error


def fetch(path: str, backend_args: dict | None = None) -> str | bytes:
    """Get a source for the reader: a local path itself, or the content of another backend's file.

    Args:
        path: Path or URI of a video.
        backend_args: Arguments of MMEngine's file backend.

    Raises:
        BadVideoError: If the file cannot be fetched.
        UserError: As for :func:`find_backend`.
    """
    if is_local(path, backend_args):
        return path
    backend = find_backend(path, backend_args)
    try:
        return bytes(backend.get(path))
    except OSError as error:
        reason = f'{type(error).__name__}: {error}'.splitlines()[0]
        raise BadVideoError(path, reason) from error


def require_folder(path: str | os.PathLike, remedy: str) -> None:
    """Check that a local folder exists.

    Args:
        path: The folder.
        remedy: What to do if there is no such folder.

    Raises:
        UserError: If there is none, or the folders above it may not be read.
    """
    _require(path, stat.S_ISDIR, f'no such folder; {remedy}')


def require_file(path: str | os.PathLike, missing: str) -> None:
    """Check that a local file exists.

    Args:
        path: The file.
        missing: What to say if there is no such file.

    Raises:
        UserError: If there is none, or the folders above it may not be read.
    """
    _require(path, stat.S_ISREG, missing)


def _require(path: str | os.PathLike, is_kind: Callable[[int], bool], missing: str) -> None:
    try:
        if is_kind(os.stat(path).st_mode):
            return
    except PermissionError as error:
        raise UserError(
            f'{path}: {os_fault(path, error)}; make it and the folders above it readable'
        ) from error
    except OSError:
        pass
    raise UserError(f'{path}: {missing}')


def find_videos(root: str | os.PathLike, backend_args: dict | None = None) -> list[str]:
    """Find every video below a folder, at any depth.

    Hidden files and folders are ignored, and so are folders of operating systems
    (:data:`SYSTEM_FOLDERS`). A link with the suffix of a video is returned, whatever its target,
    and so is a folder with such a name and no videos in it: opening it then says what is wrong.

    Args:
        root: The folder, or its URI.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        Paths relative to ``root``, sorted; empty if there is no such folder.

    Raises:
        UserError: If a folder may not be read.
    """
    root = os.fspath(root)
    found = []
    for folder, names in walk(root, backend_args):
        videos = [osp.join(folder, name) for name in names if is_video(name)]
        if folder and not videos and is_video(folder):
            videos = [folder]
        found += videos
    return sorted(found)


def walk(root: str, backend_args: dict | None = None) -> Iterator[tuple[str, list[str]]]:
    """List the files of each folder below a folder.

    Each folder comes once, even if several links lead to it. If it is below ``root``, its own path
    is used, not that of a link.

    Args:
        root: The folder, or its URI.
        backend_args: Arguments of MMEngine's file backend.

    Yields:
        Path of a folder relative to ``root`` (``''`` for ``root``), and the names of its files,
        without hidden ones and folders of operating systems (:data:`SYSTEM_FOLDERS`).

    Raises:
        UserError: If a folder may not be read.
    """
    if not is_local(root, backend_args):
        yield from _walk_backend(root, backend_args)
        return
    own, linked, seen = deque(['']), deque(), set()
    while own or linked:
        folder = own.popleft() if own else linked.popleft()
        path = osp.join(root, folder)
        try:
            status = os.stat(path)
            # Some network file systems have no inode numbers for folders.
            key = (status.st_dev, status.st_ino) if status.st_ino else osp.realpath(path)
            if key in seen:
                continue
            seen.add(key)
            names = []
            with os.scandir(path) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if _is_hidden(entry.name):
                        continue
                    if _is_folder(entry):
                        below = linked if entry.is_symlink() else own
                        below.append(osp.join(folder, entry.name))
                    else:
                        names.append(entry.name)
        except (FileNotFoundError, NotADirectoryError):  # it may have just been removed
            continue
        except OSError as error:
            raise UserError(
                f'{path}: cannot be searched for videos ({error.strerror}); make it readable, or '
                'move it elsewhere'
            ) from error
        yield folder, names


def _is_hidden(name: str) -> bool:
    return name.startswith('.') or name in SYSTEM_FOLDERS


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def _walk_backend(root: str, backend_args: dict | None) -> Iterator[tuple[str, list[str]]]:
    files: dict[str, list[str]] = {}
    for path in list_dir_or_file(root, list_dir=False, recursive=True, backend_args=backend_args):
        folder, name = osp.split(path)
        if not any(map(_is_hidden, path.split('/'))):
            files.setdefault(folder, []).append(name)
    yield from files.items()


def file_fault(path: str | os.PathLike, read: bool = True) -> str | None:
    """Check, without decoding, whether a local file can be a video.

    Only regular files are opened: a FIFO would wait for a writer, and a device might act.

    Args:
        path: The file.
        read: Whether to open it and check its first bytes too.

    Returns:
        The fault, such as ``'does not exist'``, or ``None``.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kinds = (kind for is_kind, kind in KINDS if is_kind(status.st_mode))
            return f'is {next(kinds, "a device")}, not a file'
        if not status.st_size:
            return 'is empty (0 bytes)'
        if not read:
            return None
        file = os.open(path, os.O_RDONLY | getattr(os, 'O_BINARY', 0))
        try:
            head = os.read(file, 1024)
        finally:
            os.close(file)
    except OSError as error:
        return os_fault(path, error)
    # The head of every video container has zero bytes; text does not.
    return None if b'\0' in head else 'holds text, not a video'


def os_fault(path: str | os.PathLike, error: OSError) -> str:
    """Describe a system error for a file."""
    if error.errno == errno.ELOOP:
        return 'is a link that leads back to itself'
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if osp.islink(path):
            return f'is a link to {os.readlink(path)}, which does not exist'
        return 'does not exist'
    if isinstance(error, PermissionError):
        return 'may not be read (permission denied)'
    return f'cannot be opened ({error.strerror or error})'
