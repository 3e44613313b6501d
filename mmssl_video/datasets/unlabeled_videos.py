"""Videos without labels, from a folder, an annotation list or folders of raw frames."""

import logging
import os.path as osp
import random
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmaction.datasets import BaseActionDataset
from mmaction.registry import DATASETS
from mmengine.fileio import isdir, list_dir_or_file, list_from_file
from mmengine.logging import print_log

from mmssl_video.errors import UserError

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.webm', '.mov', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv')
MAX_NAMED = 20  # files left out at the start that are named one by one
BAD_VIDEOS_REMEDY = (
    "remove it, or set train_dataloader.dataset.bad_videos='skip' to train without it"
)


@DATASETS.register_module()
class UnlabeledVideoDataset(BaseActionDataset):
    """Videos for pretraining; labels are never needed and reach monitors only.

    Three sources, told apart by ``ann_file`` and the key of ``data_prefix``:

    1. a folder, ``data_prefix=dict(video=folder)`` and no ``ann_file``: every file below it with
       the suffix of a video, at any depth, sorted by path;
    2. an MMAction2 list, ``ann_file``: a line ``path/to/video.mp4 [label]`` per video, relative
       to ``data_prefix['video']``; the path may hold spaces;
    3. raw frames, ``data_prefix=dict(img=folder)``: a list with lines ``folder num_frames
       [label]``, or without a list every folder that holds files named by ``filename_tmpl``.

    A missing label becomes -1. Local files are checked before training: a missing or empty file,
    or one that holds text, is an error. Files of other MMEngine backends are first opened when
    they are decoded.

    Each sample has ``motion_path``, where ``tools/motion_index.py`` puts the motion of the video:
    ``<path of the video relative to the folder of all>.npy`` in a folder beside the list,
    ``train.motion`` for ``train.txt``, or beside the folder of videos, ``<folder>.motion``. What
    the list names outside that folder goes there too: its leading ``/`` falls away, and ``..``
    becomes ``__``.

    Random draws are reproducible: once :meth:`set_epoch` has been called (the ``ReproducibleHook``
    does), the pipeline of each sample starts from a state of ``random`` and ``numpy.random`` that
    depends on seed, epoch and index alone, whatever the number of workers and processes, and also
    after a resume.

    Args:
        pipeline (list): Transforms; the first opens the video (e.g. ``DecordInit``) or, for raw
            frames, samples the views.
        ann_file (str): Annotation list.
        data_prefix (dict): ``dict(video=folder)`` or ``dict(img=folder)``; the folder may be a
            URI that an MMEngine backend understands.
        filename_tmpl (str): File name of a raw frame, counted from ``start_index``.
        start_index (int, optional): Number of the first raw frame. Default 1, MMAction2's.
        bad_videos (str): ``'raise'`` stops at a video that cannot be read, at start or while
            training; ``'skip'`` warns, leaves it out, and takes another sample in its place.
        backend_args (dict, optional): MMEngine file backend of the list and the folder. The
            decoder has its own, ``io_backend`` of ``DecordInit``.
        kwargs: As MMEngine's ``BaseDataset``.

    Attributes:
        left_out (list[str]): Paths left out before training, with ``bad_videos='skip'``.

    Raises:
        UserError: If there is no video, a line cannot be read, or (``bad_videos='raise'``) a file
            is missing or no video.
    """

    def __init__(
        self,
        pipeline: list[dict | Callable],
        ann_file: str = '',
        data_prefix: dict | None = None,
        filename_tmpl: str = 'img_{:05}.jpg',
        start_index: int | None = None,
        bad_videos: str = 'raise',
        backend_args: dict | None = None,
        **kwargs,
    ) -> None:
        if bad_videos not in ('raise', 'skip'):
            raise UserError(f"dataset.bad_videos is {bad_videos!r}; use 'raise' or 'skip'")
        data_prefix = data_prefix or {'video': ''}
        if len(data_prefix) != 1 or not {'video', 'img'} & set(data_prefix):
            raise UserError(
                f'dataset.data_prefix is {dict(data_prefix)}; use dict(video=FOLDER) or, for raw '
                'frames, dict(img=FOLDER)'
            )
        if not ann_file and not any(data_prefix.values()):
            raise UserError(
                'the dataset has no data; set train_dataloader.dataset.data_prefix.video to a '
                'folder of videos, or ann_file to a list of them'
            )
        self.frames = 'img' in data_prefix
        self.filename_tmpl = filename_tmpl
        self.bad_videos = bad_videos
        self.backend_args = backend_args
        self.left_out: list[str] = []
        self._reported: set[str] = set()
        # [seed, epoch]; shared memory, so that persistent workers see the next epoch too.
        self._draw_state = torch.full((2,), -1, dtype=torch.int64).share_memory_()
        super().__init__(
            ann_file,
            pipeline=pipeline,
            data_prefix=data_prefix,
            start_index=(1 if self.frames else 0) if start_index is None else start_index,
            **kwargs,
        )

    @property
    def root(self) -> str:
        """Folder that the names in the list are relative to."""
        return self.data_prefix['img' if self.frames else 'video']

    @property
    def motion_folder(self) -> str:
        """Folder of the motion of the videos, whether it is there or not."""
        source = osp.splitext(self.ann_file)[0] if self.ann_file else osp.abspath(self.root)
        return f'{source}.motion'

    @property
    def _remedy(self) -> str:
        # A test needs every video of its list, so there it is no way out to skip one.
        return 'remove it from the list and the folder' if self.test_mode else BAD_VIDEOS_REMEDY

    # -- The list of videos ------------------------------------------------------------------

    def load_data_list(self) -> list[dict]:
        """Read the list or search the folder; check what can be checked without decoding."""
        if self.ann_file:
            entries = list(self._read_list())
            source = self.ann_file
        else:
            if not isdir(self.root, backend_args=self.backend_args):
                raise UserError(
                    f'{self.root}: no such folder; set train_dataloader.dataset.data_prefix'
                )
            entries = self._find_frame_folders() if self.frames else self._find_videos()
            source = self.root
        if not entries:
            wanted = (
                f'folders of frames named like {self.filename_tmpl.format(self.start_index)}'
                if self.frames
                else f'videos ({", ".join(VIDEO_SUFFIXES)})'
            )
            raise UserError(f'{source}: found no {wanted}; check the path and the file names')
        return self._check_files(entries, source)

    def _find_videos(self) -> list[dict]:
        names = list_dir_or_file(
            self.root, list_dir=False, recursive=True, backend_args=self.backend_args
        )
        return [
            {'filename': osp.join(self.root, name), 'label': -1}
            for name in sorted(names)
            if name.lower().endswith(VIDEO_SUFFIXES)
        ]

    def _find_frame_folders(self) -> list[dict]:
        prefix, suffix = re.split(r'\{.*?\}', self.filename_tmpl, maxsplit=1)
        pattern = re.compile(re.escape(prefix) + r'\d+' + re.escape(suffix))
        counts: dict[str, int] = {}
        for name in list_dir_or_file(
            self.root, list_dir=False, recursive=True, backend_args=self.backend_args
        ):
            folder, file = osp.split(name)
            if pattern.fullmatch(file):
                counts[folder] = counts.get(folder, 0) + 1
        return [
            {'frame_dir': osp.join(self.root, folder), 'total_frames': count, 'label': -1}
            for folder, count in sorted(counts.items())
        ]

    def _read_list(self) -> Iterator[dict]:
        try:
            lines = list_from_file(self.ann_file, backend_args=self.backend_args)
        except FileNotFoundError:
            raise UserError(
                f'{self.ann_file}: no such annotation list; set train_dataloader.dataset.ann_file'
            ) from None
        line_pattern = re.compile(
            r'(?P<path>.+?)\s+(?P<frames>\d+)(?:\s+(?P<label>-?\d+))?'
            if self.frames
            else r'(?P<path>.+?)(?:\s+(?P<label>-?\d+))?'
        )
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            match = line_pattern.fullmatch(line.strip())
            if match is None:
                raise UserError(
                    f'{self.ann_file}, line {number}: {line.strip()!r} does not read '
                    "'folder num_frames [label]'; correct the line"
                )
            entry = {
                'frame_dir' if self.frames else 'filename': osp.join(self.root, match['path']),
                'label': int(match['label'] or -1),
                'line': number,
            }
            if self.frames:
                entry['total_frames'] = int(match['frames'])
            yield entry

    def _check_files(self, entries: list[dict], source: str) -> list[dict]:
        """Leave out, or raise at, local files that cannot be videos."""
        if '://' in self.root or (self.backend_args or {}).get('backend', 'local') != 'local':
            return entries
        with ThreadPoolExecutor(16) as pool:
            faults = list(pool.map(_fault, entries))
        lines = [entry.pop('line', None) for entry in entries]
        good, bad = [], []
        for entry, line, fault in zip(entries, lines, faults, strict=True):
            if fault is None:
                good.append(entry)
            else:
                where = source if line is None else f'{source}, line {line}'
                path = entry.get('filename') or entry['frame_dir']
                self.left_out.append(path)
                bad.append(f'{where}: {path} {fault}')
        if bad:
            others = f' ({len(bad) - 1} more like it)' if len(bad) > 1 else ''
            if self.bad_videos == 'raise':
                raise UserError(f'{bad[0]}{others}; {self._remedy}')
            if not good:
                raise UserError(
                    f'{bad[0]}{others}, so none is left; check dataset.data_prefix and ann_file'
                )
            for message in bad[:MAX_NAMED]:
                print_log(f'left out: {message}', logger='current', level=logging.WARNING)
            if len(bad) > MAX_NAMED:
                message = f'left out: {len(bad) - MAX_NAMED} more of {len(entries)} like these'
                print_log(message, logger='current', level=logging.WARNING)
        return good

    # -- Samples -----------------------------------------------------------------------------

    def get_data_info(self, idx: int) -> dict:
        """Annotation of one sample, with ``motion_path`` and what decoders of raw frames need."""
        info = super().get_data_info(idx)
        if self.frames:
            info['filename_tmpl'] = self.filename_tmpl
        path = info.get('filename') or info['frame_dir']
        name = path.removeprefix(osp.join(self.root, '')).lstrip('/').replace('../', '__/')
        info['motion_path'] = osp.join(self.motion_folder, f'{name}.npy')
        return info

    def get_name(self, idx: int) -> str:
        """Path of one video (or folder of frames) relative to the folder of all."""
        info = self.get_data_info(idx)
        return osp.relpath(info.get('filename') or info['frame_dir'], self.root or '.')

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Make the draws of the coming epoch a function of ``seed``, ``epoch`` and index."""
        self._draw_state[0] = seed
        self._draw_state[1] = epoch

    def prepare_data(self, idx: int) -> dict:
        """Run the pipeline; where a bad video is skipped, the next one takes its place.

        In test mode nothing can take its place: its ``inputs`` are empty.
        """
        num_videos = len(self)
        if not -num_videos <= idx < num_videos:
            raise IndexError(f'sample {idx} of a dataset of {num_videos}')  # ends a for loop
        idx %= num_videos
        for attempt in range(min(self.max_refetch + 1, num_videos)):
            info = self.get_data_info((idx + attempt) % num_videos)
            name = info.get('filename') or info['frame_dir']
            try:
                with self._seeded(idx):
                    return self.pipeline(info)
            except (UserError, TypeError, KeyError, AttributeError, NameError, ImportError):
                raise  # a mistake in the pipeline, not in the video
            except Exception as error:
                # Decoders raise types of their own; what matters is which file it was.
                message = f'{name} cannot be read ({_first_line(error)})'
                if self.bad_videos == 'raise':
                    raise UserError(f'{message}; {self._remedy}') from error
                if name not in self._reported:
                    self._reported.add(name)
                    print_log(f'left out: {message}', logger='current', level=logging.WARNING)
                if self.test_mode:
                    return {'inputs': torch.empty(0), 'data_samples': None}
        raise UserError(f'{attempt + 1} videos in a row cannot be read, the last one: {message}')

    @contextmanager
    def _seeded(self, idx: int) -> Iterator[None]:
        """Seed the generators that MMAction2's transforms draw from, and restore them after."""
        seed, epoch = self._draw_state.tolist()
        if epoch < 0:
            yield
            return
        python_state, numpy_state = random.getstate(), np.random.get_state()
        words = np.random.SeedSequence([seed, epoch, idx]).generate_state(2)
        random.seed(int(words[0]))
        np.random.seed(words[1])
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def _fault(entry: dict) -> str | None:
    """What makes a local entry unreadable, seen without decoding; ``None`` where nothing does."""
    if 'frame_dir' in entry:
        if not osp.isdir(entry['frame_dir']):
            return 'does not exist'
        return None if entry['total_frames'] else 'has no frames'
    path = Path(entry['filename'])
    if not path.is_file():
        return 'does not exist'
    with path.open('rb') as file:
        head = file.read(1024)
    if not head:
        return 'is empty (0 bytes)'
    # The head of every video container holds zero bytes; text does not.
    return None if b'\0' in head else 'holds text, not a video'


def _first_line(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'.splitlines()[0]
