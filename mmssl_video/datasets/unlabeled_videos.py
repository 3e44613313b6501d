"""Videos without labels, from a folder, an annotation list or folders of raw frames."""

import logging
import os.path as osp
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from mmaction.datasets import BaseActionDataset
from mmaction.registry import DATASETS
from mmengine.logging import print_log

from mmssl_video.errors import BadVideoError, UserError, bad_video
from mmssl_video.passes import from_main_process
from mmssl_video.video import VIDEO_SUFFIXES

from .bad_videos import add_to_report, check_share, draw_replacements
from .sources import CHECKS, FileCheck, find_sources, path_of, read_list

BAD_VIDEOS_REMEDY = (
    "remove it, or set train_dataloader.dataset.bad_videos='skip' to train without it"
)


@DATASETS.register_module()
class UnlabeledVideoDataset(BaseActionDataset):
    """Videos for pretraining. Labels are not needed; only monitors use them.

    There are three sources, chosen by ``ann_file`` and the key of ``data_prefix``:

    1. a folder, ``data_prefix=dict(video=folder)`` and no ``ann_file``: every file below it with
       the suffix of a video, at any depth, sorted by path;
    2. an MMAction2 list, ``ann_file``: a line ``path/to/video.mp4 [label]`` per video, relative
       to ``data_prefix['video']``; the path may have spaces;
    3. raw frames, ``data_prefix=dict(img=folder)``: a list with lines ``folder num_frames
       [label]``, or without a list every folder that holds files named by ``filename_tmpl``.

    A missing label, several labels and words become the label -1. If all labels are -1, the samples
    have no ``gt_label``. A line may be the URI of a video in a store that an MMEngine backend reads
    (``s3://...``). The first process checks the local files before training, for all processes: so
    every process has to build the data set, unless ``check_files='none'``. Files of other backends
    are first opened when they are decoded.

    Each sample has ``motion_path``, where ``tools/motion_index.py`` stores the motion of the video:
    ``<path of the video relative to the root folder>.npy`` in a folder beside the list,
    ``train.motion`` for ``train.txt``, or beside the folder of videos, ``<folder>.motion``. Videos
    outside the root folder go there too: a leading ``/`` and the ``s3://`` of a URI are removed,
    and ``..`` becomes ``__``. The ``index_path`` of a video's packets is ``train.index/...npz`` in
    the same way. For a list or folder in another store, these folders are in ``local_root``.

    Random draws are reproducible: after a call of :meth:`set_epoch` (by ``ReproducibleHook``), the
    pipeline of each sample starts from a state of ``random`` and ``numpy.random`` that depends only
    on seed, epoch and index, not on the number of workers and processes, and also after a resume.

    Args:
        pipeline (list): Transforms; the first opens the video (``VideoInit``) or, for raw
            frames, samples the views.
        ann_file (str): Annotation list.
        data_prefix (dict): ``dict(video=folder)`` or ``dict(img=folder)``; the folder may be a
            URI that an MMEngine backend supports.
        filename_tmpl (str): File name of a raw frame, counted from ``start_index``.
        start_index (int, optional): Number of the first raw frame. Default 1, MMAction2's.
        bad_videos (str): ``'raise'`` stops at a video that cannot be read, at start or during
            training; ``'skip'`` leaves it out, and another video takes its place, see
            :meth:`set_order`.
        max_bad_share (float): Part of the videos that may be bad, including those left out before
            training, rounded up to whole videos; one more stops the run.
        check_files (str): How files are checked before training: ``'full'`` reads the head of
            each video, and compares the frames of each folder with ``num_frames``;
            ``'existence'`` only checks that each exists, ``'none'`` checks nothing.
        local_root (str): Folder of motion and indexes for lists and folders in other stores;
            motion of ``s3://bucket/train.txt`` is in ``<local_root>/bucket/train.motion``.
        backend_args (dict, optional): MMEngine file backend of the list and the folder. The
            reader has its own, ``io_backend`` of ``VideoInit``.
        entries (Sequence[dict], optional): The videos, in place of a list and of a search:
            ``filename`` and ``label`` of each.
        kwargs: As for MMEngine's ``BaseDataset``.

    Attributes:
        has_labels (bool): Whether any video has a label; if not, samples have no ``gt_label``.
        left_out (dict[str, str]): Why videos are left out before training, with
            ``bad_videos='skip'``, by path.
        report (Path, optional): File in which ``BadVideosHook`` lists bad videos that are found
            during training; without it, the log names each.

    Raises:
        UserError: If there is no video, a line cannot be read, or (``bad_videos='raise'``) a file
            is missing or is no video.
    """

    def __init__(
        self,
        pipeline: list[dict | Callable],
        ann_file: str = '',
        data_prefix: dict | None = None,
        filename_tmpl: str = 'img_{:05}.jpg',
        start_index: int | None = None,
        bad_videos: str = 'raise',
        max_bad_share: float = 0.01,
        check_files: str = 'full',
        local_root: str = 'data/remote',
        backend_args: dict | None = None,
        entries: Sequence[dict] | None = None,
        **kwargs,
    ) -> None:
        if check_files not in CHECKS:
            raise UserError(
                f'dataset.check_files is {check_files!r}; use {", ".join(map(repr, CHECKS))}'
            )
        if bad_videos not in ('raise', 'skip'):
            raise UserError(f"dataset.bad_videos is {bad_videos!r}; use 'raise' or 'skip'")
        if not 0 <= max_bad_share <= 1:
            raise UserError(f'dataset.max_bad_share is {max_bad_share}; give a share from 0 to 1')
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
        self.max_bad_share = max_bad_share
        self.check_files = check_files
        self.local_root = local_root
        self.backend_args = backend_args
        self.entries = entries
        self.left_out: dict[str, str] = {}
        self.report: Path | None = None
        self._found: dict[str, str] = {}  # bad videos that this process has found
        self._batch: set[int] | None = None
        # [seed, epoch, videos in a batch of all processes or 0 for an unknown order]. This and the
        # order are in shared memory, so that persistent workers see the next epoch too.
        self._draw_state = torch.tensor([-1, -1, 0]).share_memory_()
        self._order = torch.empty(0, dtype=torch.int32).share_memory_()
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
        """Folder of the motion of the videos, which may not exist."""
        return f'{self._beside}.motion'

    @property
    def index_folder(self) -> str:
        """Folder of the packet indexes of the videos, which may not exist."""
        return f'{self._beside}.index'

    @property
    def _beside(self) -> str:
        """Path of the folders beside the list or the folder of videos, without their suffix."""
        source = osp.splitext(self.ann_file)[0] if self.ann_file else self.root
        if '://' in source:
            return osp.join(self.local_root, source.split('://', 1)[1].strip('/'))
        return source if self.ann_file else osp.abspath(source)

    @property
    def _remedy(self) -> str:
        # A test needs every video of its list, so skipping one is no remedy there.
        return 'remove it from the list and the folder' if self.test_mode else BAD_VIDEOS_REMEDY

    # -- The list of videos ------------------------------------------------------------------

    def load_data_list(self) -> list[dict]:
        """Read the list or search the folder, and check the files, in one process for all."""
        load = self._load_sources
        entries, self.left_out = load() if self.check_files == 'none' else from_main_process(load)
        self.has_labels = any(entry['label'] >= 0 for entry in entries)
        self.entries = None  # `entries` has them
        return entries

    def _load_sources(self) -> tuple[list[dict], dict[str, str]]:
        source = self.ann_file or self.root
        if self.entries is not None:
            entries = [dict(entry) for entry in self.entries]
        elif self.ann_file:
            entries = read_list(self.ann_file, self.root, self.frames, self.backend_args)
        else:
            template = self.filename_tmpl if self.frames else None
            entries = find_sources(self.root, template, self.backend_args)
        if not entries:
            wanted = (
                f'folders of frames named like {self.filename_tmpl.format(self.start_index)}'
                if self.frames
                else f'videos ({", ".join(VIDEO_SUFFIXES)})'
            )
            raise UserError(f'{source}: found no {wanted}; check the path and the file names')
        check = FileCheck(self.check_files, self.filename_tmpl, self.start_index, self.backend_args)
        return check.leave_out_bad(entries, source, self.bad_videos == 'skip', self._remedy)

    # -- Samples -----------------------------------------------------------------------------

    def get_data_info(self, idx: int) -> dict:
        """Annotation of one video, with ``motion_path``, ``index_path`` and what decoders need."""
        info = super().get_data_info(idx)
        if self.frames:
            info['filename_tmpl'] = self.filename_tmpl
        name = path_of(info).removeprefix(osp.join(self.root, '')).split('://', 1)[-1]
        name = name.lstrip('/').replace('../', '__/')
        info['motion_path'] = osp.join(self.motion_folder, f'{name}.npy')
        info['index_path'] = osp.join(self.index_folder, f'{name}.npz')
        return info

    def get_path(self, idx: int) -> str:
        """Path or URI of one video (or folder of frames)."""
        return path_of(super().get_data_info(idx))

    def get_name(self, idx: int) -> str:
        """Path of one video (or folder of frames) relative to the root folder."""
        path = self.get_path(idx)
        if '://' in path:
            return path.removeprefix(osp.join(self.root, ''))
        return osp.relpath(path, self.root or '.')

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Make the draws of the coming epoch a function of ``seed``, ``epoch`` and index."""
        self._draw_state.share_memory_()  # the Runner's copy of the dataset is not shared
        self._draw_state[0] = seed
        self._draw_state[1] = epoch

    def set_order(self, order: Sequence[int], batch_size: int) -> None:
        """Set the batches of the coming epoch. No video replaces another one of its batch.

        If ``BadVideosHook`` cannot set them, this only holds within each process.

        Args:
            order: Videos of all processes; every ``batch_size`` in a row are a batch. The number
                of videos must be the same in every epoch.
            batch_size: Number of videos in a batch of all processes together.
        """
        order = torch.as_tensor(order, dtype=torch.int32)
        if order.shape != self._order.shape:
            self._order = torch.empty_like(order).share_memory_()
        self._order.copy_(order)
        self._draw_state[2] = batch_size

    def __getitems__(self, indices: list[int]) -> list[dict]:
        """Samples of the part of a batch that this process reads."""
        self._batch = {index % len(self) for index in indices}
        try:
            return [self[index] for index in indices]
        finally:
            self._batch = None

    def prepare_data(self, idx: int) -> dict:
        """Run the pipeline; with ``bad_videos='skip'``, another video takes a bad one's place.

        The metainfo of ``data_samples`` then has ``bad_videos``, [(path, reason), ...]. In test
        mode no video is replaced.

        Raises:
            BadVideoError: The video cannot be read, and no other one may or can take its place.
        """
        num_videos = len(self)
        if not -num_videos <= idx < num_videos:
            raise IndexError(f'sample {idx} of a dataset of {num_videos}')  # ends a for loop
        idx %= num_videos
        bad = []
        for video in chain([idx], self._replacements(idx)):
            info = self.get_data_info(video)
            if not self.has_labels:
                del info['label']
            path = path_of(info)
            try:
                with self._seeded(idx):
                    sample = self.pipeline(info)
                if sample is None:
                    raise ValueError('its pipeline gives nothing')
            except Exception as error:
                if (fault := bad_video(error, path)) is None:
                    raise
                if self.bad_videos == 'raise' or self.test_mode:
                    raise BadVideoError(path, fault.reason, self._remedy) from error
                bad.append((path, fault.reason))
                del fault  # its traceback keeps this frame alive, and so all data of the reader
                self._note(*bad[-1])
                continue
            if bad and 'data_samples' in sample:  # PackActionInputs is not in every pipeline
                sample['data_samples'].set_metainfo({'bad_videos': bad})
            return sample
        if self.report is not None:
            add_to_report(self.report, self._found)
        tried = f' (tried {len(bad) - 1}, all unreadable)' if bad[1:] else ''
        raise BadVideoError(
            *bad[0],
            f'no video outside its batch can replace it{tried}: remove such files, or lower '
            'train_dataloader.batch_size',
        )

    def _note(self, path: str, reason: str) -> None:
        """Log a bad video, unless a hook does, and stop if there are too many."""
        if path in self._found:
            return
        self._found[path] = reason
        if self.report is None:
            message = f'left out: {path} cannot be read ({reason})'
            print_log(message, logger='current', level=logging.WARNING)
        bad = self.left_out | self._found
        check_share(bad, len(self) + len(self.left_out), self.max_bad_share, self.report)

    def _replacements(self, idx: int) -> Iterator[int]:
        """Yield videos that may replace one, in the order in which they are tried."""
        seed, epoch, batch_size = self._draw_state.tolist()
        entropy = [seed, epoch, idx] if epoch >= 0 else np.random.randint(2**31)
        generator = np.random.default_rng(entropy)
        order = self._order.numpy()
        if batch_size and idx in order:
            yield from draw_replacements(idx, order, batch_size, len(self), generator)
            return
        taken = {idx} if self._batch is None else self._batch
        for video in generator.permutation(len(self)).tolist():
            if video not in taken:
                taken.add(video)  # nor may it replace another one of this batch
                yield video

    @contextmanager
    def _seeded(self, idx: int) -> Iterator[None]:
        """Seed the generators that MMAction2's transforms draw from; restore them on leaving."""
        seed, epoch, _ = self._draw_state.tolist()
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
