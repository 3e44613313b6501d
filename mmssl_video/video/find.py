"""Finding videos: what counts as one by its name, in folders as people have them."""

import errno
import os
import os.path as osp
import stat
from collections import deque
from collections.abc import Iterator

from mmengine.fileio import get_file_backend, list_dir_or_file
from mmengine.fileio.backends import BaseStorageBackend

from mmssl_video.errors import BadVideoError, UserError

VIDEO_SUFFIXES = (
    *('.mp4', '.avi', '.mkv', '.webm', '.mov', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv', '.ts'),
    *('.mts', '.m2ts', '.m2t', '.3gp', '.3g2', '.ogv', '.vob', '.asf', '.divx', '.mpe', '.m2v'),
    *('.f4v', '.mxf', '.qt', '.rm', '.rmvb'),
)
# Folders that systems make on their own; `.`-names too, such as macOS' `._x.mp4`, are no videos.
SYSTEM_FOLDERS = {
    *('@eaDir', '__MACOSX', 'lost+found', '$RECYCLE.BIN', 'System Volume Information'),
}
KINDS = ((stat.S_ISDIR, 'a folder'), (stat.S_ISFIFO, 'a FIFO'), (stat.S_ISSOCK, 'a socket'))


def is_video(name: str | os.PathLike) -> bool:
    """Whether a file is called as a video is, in any case, and is not hidden."""
    name = osp.basename(name)
    return name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith('.')


def is_local(path: str, backend_args: dict | None = None) -> bool:
    """Whether MMEngine reads a path from the local file system, not by another backend."""
    return '://' not in path and (backend_args or {}).get('backend', 'local') == 'local'


def find_backend(path: str, backend_args: dict | None = None) -> BaseStorageBackend:
    """MMEngine's file backend for a path.

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
    """What the reader opens: a local path itself, or the content of a file of another backend.

    Args:
        path: Path or URI of a video.
        backend_args: Of MMEngine's file backend.

    Raises:
        BadVideoError: If the file cannot be fetched.
        UserError: As :func:`find_backend`.
    """
    if is_local(path, backend_args):
        return path
    backend = find_backend(path, backend_args)
    try:
        return bytes(backend.get(path))
    except OSError as error:
        reason = f'{type(error).__name__}: {error}'.splitlines()[0]
        raise BadVideoError(path, reason) from error


def find_videos(root: str | os.PathLike, backend_args: dict | None = None) -> list[str]:
    """Every video below a folder, at any depth.

    What is hidden is left alone, and so are folders of systems (:data:`SYSTEM_FOLDERS`). A link
    that is called as a video is a video, wherever it leads, and so is a folder that holds none:
    whoever opens it can tell what is wrong with it.

    Args:
        root: The folder, or its URI.
        backend_args: Of MMEngine's file backend.

    Returns:
        Paths relative to ``root``, sorted; none where there is no such folder.

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
    """Folder by folder, what is in it and is no folder.

    Each folder comes once, however many links lead to it, and by its own path rather than by a
    link's, if it lies below ``root``.

    Args:
        root: The folder, or its URI.
        backend_args: Of MMEngine's file backend.

    Yields:
        Path of a folder relative to ``root``, ``''`` for itself, and the names in it; without what
        is hidden or a system's (:data:`SYSTEM_FOLDERS`).

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
            # Some network file systems have no numbers for folders.
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
        except (FileNotFoundError, NotADirectoryError):  # perhaps it was there a moment ago
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
    """What keeps a local file from being a video, seen without decoding.

    What is no regular file is not opened: a FIFO waits for a writer, a device may act.

    Args:
        path: The file.
        read: Whether to open it, too, and to look at its head.

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
    # The head of every video container holds zero bytes; text does not.
    return None if b'\0' in head else 'holds text, not a video'


def os_fault(path: str | os.PathLike, error: OSError) -> str:
    """The words for an error of the system at a file."""
    if error.errno == errno.ELOOP:
        return 'is a link that leads back to itself'
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if osp.islink(path):
            return f'is a link to {os.readlink(path)}, which does not exist'
        return 'does not exist'
    if isinstance(error, PermissionError):
        return 'may not be read (permission denied)'
    return f'cannot be opened ({error.strerror or error})'
