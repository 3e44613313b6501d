"""Prepare a collection of videos: store each one again, small and fast to read.

``tools/prepare_videos.py`` writes a folder of videos and, for a list ``train.txt``::

    train.txt              MMAction2's list: paths in this folder, with the same labels
    train.jsonl            a line for each video: path, source, frames, fps, width, height, label
    train.bad_videos.txt   path and reason of those that could not be read
    settings.json          how the videos are stored

Without a list, these are ``videos.txt`` and so on.
"""

import os
import os.path as osp
import platform
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmssl_video.errors import UserError, unwritable
from mmssl_video.files import claim_folder
from mmssl_video.passes import TIMEOUT, report_faults, run_pass
from mmssl_video.video.storage import STORAGES, store_video

from .collection import Collection, add_record, read_records, write_lines, write_records

PARTIAL = '.partial'  # suffix of a file that is being written
ABANDONED = 3600  # seconds without a change after which another machine's file is abandoned


@dataclass
class Preparation:
    """How videos are stored.

    Args:
        folder: Where they are stored.
        storage: A key of `STORAGES`.
        short_side: Shorter side of the stored frames, in pixels; smaller frames keep their size.
        quality: Quality for the encoder; by default that of the storage.
        timeout: Seconds allowed to open a video, and to read some frames.
    """

    folder: Path
    storage: str = 'mjpeg'
    short_side: int = 256
    quality: int | None = None
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        qualities = STORAGES[self.storage].qualities
        if self.quality is None:
            self.quality = STORAGES[self.storage].quality
        if self.quality not in qualities:
            raise UserError(
                f'quality is {self.quality}; {self.storage} takes {qualities[0]} (best) to '
                f'{qualities[-1]}'
            )
        if self.short_side < 2 or self.short_side % 2:
            raise UserError(f'the short side is {self.short_side}; give an even number of pixels')
        if not self.timeout > 0:  # also nan
            raise UserError(f'the time-out is {self.timeout:g}; give seconds, more than 0')


@dataclass
class _Storer:
    """Stores videos by number, in a worker."""

    videos: Collection
    preparation: Preparation
    targets: dict[int, str]

    def __call__(self, number: int) -> Iterator[float | tuple[int, dict]]:
        """Yield the part of a video that is stored, then its number and the facts for the table."""
        preparation = self.preparation
        storage = STORAGES[preparation.storage]
        signature = self.videos.signature(number)
        with self.videos.open(number, preparation.timeout, forward=True) as video:
            target = preparation.folder / self.targets[number]
            with _completed(target, preparation.folder) as partial:
                facts = yield from store_video(
                    video, partial, storage, preparation.short_side, preparation.quality
                )
                facts |= dict(size=partial.stat().st_size, source_signature=signature)
        yield number, facts


def prepare_videos(videos: Collection, preparation: Preparation, jobs: int = 1) -> dict[str, str]:
    """Store all videos in another folder; videos that it already has with these settings are kept.

    Args:
        videos: The collection.
        preparation: How the videos are stored.
        jobs: Number of processes.

    Returns:
        Why videos cannot be read, by path.

    Raises:
        UserError: If the folder cannot be used, or no video can be read.
    """
    if jobs < 1:
        raise UserError(f'jobs is {jobs}; give 1 or more')
    folder = preparation.folder
    _claim(folder, videos, preparation)
    _remove_partial(folder)
    table = folder / f'{videos.title}.jsonl'
    known = {
        record['source']: record
        for path in sorted(folder.glob('*.jsonl'), key=lambda path: path == table)
        for record in read_records(path)
    }
    known = {name: record for name, record in known.items() if _is_there(folder, record)}
    targets = _name_targets(videos, known, STORAGES[preparation.storage].suffix)
    write_records(table, (record for name, record in known.items() if name in videos.numbers))

    def is_done(number: int) -> bool:
        record = known.get(videos.names[number])
        # A source that was deleted since then is no longer needed.
        return record is not None and videos.signature(number) in (
            None,
            record['source_signature'],
        )

    def keep(payload: tuple[int, dict]) -> None:
        number, facts = payload
        name = videos.names[number]
        known[name] = dict(path=targets[number], source=name) | facts
        add_record(table, known[name])

    try:
        faults = run_pass(
            list(videos.numbers.values()),
            _Storer(videos, preparation, targets),
            keep,
            name=videos.path,
            done=is_done,
            description='Preparing',
            num_workers=jobs if jobs > 1 else 0,
            skip_bad=True,
        )
    finally:
        _remove_partial(folder)
    for number in videos.numbers.values():
        if videos.path(number) in faults:  # remove the old video of a source that has changed
            (folder / targets[number]).unlink(missing_ok=True)
    report_faults(folder / f'{videos.title}.bad_videos.txt', faults, len(videos.numbers))
    rows = [
        (number, known[name])
        for number, name in enumerate(videos.names)
        if videos.path(number) not in faults
    ]
    write_records(table, [row | dict(label=videos.label(number)) for number, row in rows])
    write_lines(
        folder / f'{videos.title}.txt',
        (f'{row["path"]}{videos.labels(number)}' for number, row in rows),
    )
    return faults


def _claim(folder: Path, videos: Collection, preparation: Preparation) -> None:
    """Claim a folder, or continue in it.

    Raises:
        UserError: If the folder must not be written to.
    """
    source, target = osp.realpath(videos.root), osp.realpath(folder)
    if '://' not in videos.root and osp.commonpath([source, target]) in (source, target):
        raise UserError(
            f'{folder}: prepared videos would be among the originals in {videos.root}; choose a '
            'folder beside it'
        )
    if folder.is_dir() and not (folder / 'settings.json').exists() and any(folder.iterdir()):
        raise UserError(f'{folder}: holds other files; choose a new or an empty folder')
    settings = dict(
        source=videos.root if '://' in videos.root else source,
        storage=preparation.storage,
        short_side=preparation.short_side,
        quality=preparation.quality,
    )
    claim_folder(folder, settings, 'videos')


def _is_there(folder: Path, record: dict) -> bool:
    try:
        return os.stat(folder / record['path']).st_size == record['size']
    except OSError:
        return False


def _name_targets(videos: Collection, known: dict[str, dict], suffix: str) -> dict[int, str]:
    """Choose paths in the new folder, by the numbers of videos.

    A video keeps its path with the new suffix. If the paths of several videos differ only in their
    suffix, the old suffix is kept before the new one.
    """
    paths = {name: _as_text(videos.inner_path(number)) for name, number in videos.numbers.items()}
    # Some file systems ignore case.
    stems = Counter(osp.splitext(path)[0].lower() for path in paths.values())
    taken = {record['path'].lower() for record in known.values()}
    taken |= {str(folder).lower() for path in paths.values() for folder in Path(path).parents}
    targets = {}
    for name, path in paths.items():
        stem = osp.splitext(path)[0]
        target = f'{stem if stems[stem.lower()] == 1 else path}{suffix}'
        if name in known:
            target = known[name]['path']
        else:
            while target.lower() in taken:
                path += '_'
                target = f'{path}{suffix}'
        taken.add(target.lower())
        targets[videos.numbers[name]] = target
    return targets


def _as_text(path: str) -> str:
    """Change a path so that a list can hold it: UTF-8, no line breaks, no blanks at its ends."""
    text = path.encode('utf-8', 'surrogateescape').decode('utf-8', 'replace')
    return re.sub(r'[\x00-\x1f]|^\s+|\s+$', '_', text)


@contextmanager
def _completed(target: Path, folder: Path) -> Iterator[Path]:
    """Yield a path to write to, and move the file there to ``target`` when it is complete."""
    partial = folder / f'.{platform.node()}.{os.getpid()}{PARTIAL}'
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, target)
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _remove_partial(folder: Path) -> None:
    """Remove incomplete files that stopped processes have left."""
    for path in folder.glob(f'.*{PARTIAL}'):
        machine, _, process = path.name.removesuffix(PARTIAL).rpartition('.')
        if machine == f'.{platform.node()}':
            try:
                os.kill(int(process), 0)  # only checks that the process exists
            except ProcessLookupError:
                path.unlink(missing_ok=True)
            except PermissionError:  # another user's process
                pass
        elif time.time() - path.stat().st_mtime > ABANDONED:
            path.unlink(missing_ok=True)
