"""A collection of videos for the tools that process it, and the records that they keep."""

import json
import os
import os.path as osp
from collections.abc import Iterable
from pathlib import Path

from mmssl_video.errors import UserError, unwritable
from mmssl_video.files import atomic_path
from mmssl_video.video import VideoReader
from mmssl_video.video.find import fetch

from .sources import join, read_lines, read_list, signature, split_video_line
from .unlabeled_videos import UnlabeledVideoDataset

TEXT = dict(encoding='utf-8', errors='surrogateescape')  # names of files may be of any bytes


class Collection:
    """Videos of a folder or a list, by number.

    Args:
        folder: Folder that is searched, or that the paths in the list are relative to.
        ann_file: MMAction2 list; labels may be missing.

    Attributes:
        root (str): The folder.
        title (str): Name of the list without its suffix, or ``'videos'``.
        beside (str): Path of the list without its suffix, or of the folder.
        names (list[str]): Path of each video relative to the folder; a URI is unchanged.
        lines (list[str]): Lines of the list; without a list, the names.
        numbers (dict[str, int]): First number of each video, by its name. A video that has several
            lines is in it once.
    """

    def __init__(self, folder: str, ann_file: str = '') -> None:
        lines = entries = None
        if ann_file:  # read once: it may be a pipe, or change meanwhile
            lines = read_lines(ann_file)
            entries = read_list(ann_file, folder, lines=lines)
        self._videos = UnlabeledVideoDataset(
            [],
            ann_file,
            dict(video=folder),
            check_files='none',
            bad_videos='skip',
            entries=entries,
        )
        self.root = folder
        self.title = Path(ann_file).stem if ann_file else 'videos'
        self.beside = self._videos.index_folder.removesuffix('.index')
        self.names = self.lines = [
            self._videos.get_name(number) for number in range(len(self._videos))
        ]
        if lines is not None:
            self.lines = [line.strip() for line in lines if line.strip()]
        self.numbers: dict[str, int] = {}
        for number, name in enumerate(self.names):
            self.numbers.setdefault(name, number)

    def path(self, number: int) -> str:
        """Path or URI of a video."""
        return self._videos.get_path(number)

    def label(self, number: int) -> int:
        """Label of a video; -1 if it has none."""
        return self._videos.get_data_info(number)['label']

    def labels(self, number: int) -> str:
        """The part of a video's line after its path, with the space before it."""
        line = self.lines[number]
        path, _ = split_video_line(line, lambda name: osp.exists(join(self.root, name)))
        return line[len(path) :]

    def index_path(self, number: int) -> str:
        """Where the packet index of a video is stored."""
        return self._videos.get_data_info(number)['index_path']

    def inner_path(self, number: int) -> str:
        """Path of a video within a copy of the folder; below ``__`` if it is outside the folder."""
        return osp.relpath(self.index_path(number), self._videos.index_folder).removesuffix('.npz')

    def signature(self, number: int) -> list[int] | None:
        """Size of a local file and time of its last change; ``None`` if there is no such file."""
        return signature(self.path(number))

    def open(self, number: int, timeout: float, forward: bool) -> VideoReader:
        """Open a video, with its index if there is one.

        Args:
            number: Number of the video.
            timeout, forward: As for :class:`~mmssl_video.video.VideoReader`.

        Raises:
            BadVideoError: If it cannot be opened.
        """
        name, index_path = self.path(number), self.index_path(number)
        return VideoReader(
            fetch(name), name=name, timeout=timeout, forward=forward, index_path=index_path
        )


def read_records(path: str | os.PathLike) -> list[dict]:
    """Read JSON lines, without an incomplete last line that a killed process has left."""
    path = Path(path)
    if not path.exists():
        return []
    lines = path.read_bytes().split(b'\n')[:-1]
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise UserError(f'{path}: holds no JSON lines ({error}); move or delete it') from error


def write_records(path: str | os.PathLike, records: Iterable[dict]) -> None:
    """Write a JSON line for each record, atomically."""
    with atomic_path(path) as temporary, temporary.open('w') as file:
        file.writelines(f'{json.dumps(record)}\n' for record in records)


def add_record(path: str | os.PathLike, record: dict) -> None:
    """Append a JSON line to a file of :func:`write_records`.

    Raises:
        UserError: If it cannot be written.
    """
    try:
        with open(path, 'a') as file:
            file.write(f'{json.dumps(record)}\n')
    except OSError as error:
        raise unwritable(path, error) from error


def write_lines(path: str | os.PathLike, lines: Iterable[str]) -> None:
    """Write lines of text, atomically."""
    with atomic_path(path) as temporary, temporary.open('w', **TEXT) as file:
        file.writelines(f'{line}\n' for line in lines)


def write_list(path: str | os.PathLike, entries: Iterable[tuple[str, int]]) -> None:
    """Write an MMAction2 list, with lines ``<relative path> <label>``."""
    Path(path).write_text(''.join(f'{name} {label}\n' for name, label in entries))
