"""Unfinished features on disk, and the settings that features depend on."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.logging import print_log
from torch import Tensor, nn

from mmssl_video.datasets.sources import signatures
from mmssl_video.errors import UserError
from mmssl_video.files import claim_folder
from mmssl_video.passes import from_main_process

from .features import CHUNK_VALUES
from .loader import VideoLoader, dataset_options


def fingerprint(*parts: object) -> str:
    """Hash tensors, dicts, lists, strings and numbers to twelve hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            digest.update(part.cpu().reshape(-1).view(torch.uint8).numpy())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode() + b'\0')
    return digest.hexdigest()[:12]


def extraction_settings(
    cfg: Config,
    checkpoint: str | None,
    model: nn.Module,
    loader: VideoLoader,
    pipeline: list[dict],
    **options: object,
) -> dict:
    """Get the settings that features depend on, for JSON: the encoder, its options, the videos.

    Args:
        cfg, checkpoint: Config and checkpoint of the model; their names are stored.
        model: From :func:`build_encoder`; the SHA-256 of its weights is stored as ``weights``, for
            any file that they are from.
        loader: The loader of the videos.
        pipeline: From :func:`feature_pipeline`.
        options: Stored unchanged: ``branch``, ``layer``, ``per_clip``, ``l2``, ``amp``.
    """
    videos = loader.dataset
    modules = filter(None, (model.backbone, getattr(model, 'feature_head', None)))
    # Without their names, which change if the output of a layer is used.
    items = chain.from_iterable(sorted(part.state_dict().items()) for part in modules)
    weights = [tensor for _, tensor in items]
    names = [videos.get_name(number) for number in range(len(videos))]
    source = videos.ann_file or videos.root
    settings = {
        'config': Path(cfg.filename or '').name,
        'checkpoint': Path(checkpoint or 'none').name,
        'weights': fingerprint(*weights),
        'feature_head': None if options.get('layer') else cfg.get('feature_head'),
        'backbone': cfg.model.backbone,
        'data_preprocessor': cfg.model.get('data_preprocessor'),
        'pipeline': pipeline,
        'dataset': fingerprint(dataset_options(cfg)),  # they may have secret keys of a storage
        'videos': f'{Path(source).name} {fingerprint(os.path.abspath(videos.root), names)}',
        **options,
    }
    return json.loads(json.dumps(settings, default=str))  # tuples become lists, as in the file


def check_clips(source: object, first: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Compare the shapes [..., M, D] of the features of a video and of another one."""
    if first != other:
        raise UserError(
            f'{source}: has room for {list(first[-2:])} features of a video, not for '
            f'{list(other[-2:])}; where videos differ in their clips, extract with `per_clip=False`'
        )


NO_FILE = [-1, -1]  # size and time


class PartialFeatures:
    """Unfinished features, in a folder that several processes write to.

    ``features/array.npy`` float32 [N, M, D] has the features of all N videos, ``done/array.npy``
    bool [N] marks the finished ones, ``signatures/array.npy`` int64 [N, 2] has size and time of
    their files, and ``settings.json`` the settings. Arrays are written through files, not through
    memory maps: so a full disk raises an error, and a mark is written after its features.

    The marks of files that have changed since then are removed; of a folder of frames, only added
    and removed files are noticed. A file that was deleted is no longer needed.

    Args:
        folder: May have the features of an interrupted run.
        settings: Settings of the run.
        paths: Paths of all N videos; URIs do not show a change.

    Attributes:
        done (np.ndarray): bool [N], finished videos that this process knows of.

    Raises:
        UserError: If the folder has features with other settings, or cannot be written to.
    """

    def __init__(self, folder: Path, settings: dict, paths: Sequence[str]) -> None:
        self.folder = folder

        def claim() -> np.ndarray:
            claim_folder(folder, settings, 'unfinished features')
            # Before any video is read: one that changes meanwhile counts as changed.
            now = np.array([found or NO_FILE for found in signatures(paths)], dtype=np.int64)
            self._create('done', (len(paths),), bool)
            done, earlier = np.load(self._path('done')), now
            if self._path('signatures').exists():  # not in a folder of an older version
                earlier = np.load(self._path('signatures'))
            self._create('signatures', now.shape, np.int64)
            is_there = (now != NO_FILE).any(axis=1)
            changed = done & is_there & (now != earlier).any(axis=1)
            if changed.any():
                print_log(
                    f'{folder}: {changed.sum()} videos have changed and are encoded again',
                    logger='current',
                )
                done &= ~changed
                self._write('done', 0, done)
            self._write('signatures', 0, np.where(is_there[:, None], now, earlier))
            return done

        # In the first process, before any other process writes.
        self.done = from_main_process(claim)

    def _path(self, name: str) -> Path:
        return self.folder / name / 'array.npy'

    def write(self, numbers: list[int], features: np.ndarray) -> None:
        """Write the features [n, M, D] of n videos of one batch, and mark the videos as done."""
        self._create('features', (len(self.done), *features.shape[1:]), np.float32)
        runs = np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(numbers) != 1) + 1)
        for run in runs:
            self._write('features', numbers[run[0]], features[run])
        self.done[numbers] = True
        # All marks at once, or a continued run would encode the rest of a batch separately.
        self._write('done', numbers[0], self.done[numbers[0] : numbers[-1] + 1])

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the numbers int64 [n] of the finished videos, and map their features [n, M, D]."""
        numbers = np.flatnonzero(np.load(self._path('done')))
        features = np.load(self._path('features'), mmap_mode='r')
        if len(numbers) < len(self.done):
            shutil.rmtree(self.folder / 'kept', ignore_errors=True)  # from an earlier attempt
            self._create('kept', (len(numbers), *features.shape[1:]), np.float32)
            step = max(1, CHUNK_VALUES // features[0].size)
            for start in range(0, len(numbers), step):
                self._write('kept', start, features[numbers[start : start + step]])
            features = np.load(self._path('kept'), mmap_mode='r')
        return numbers, features

    def _create(self, name: str, shape: tuple[int, ...], dtype: type) -> None:
        """Make an array of zeros if it does not exist; zeros take no space on disk."""
        path = self._path(name)
        temporary = self.folder / f'.{name}.{get_rank()}'
        try:
            if not path.exists():
                temporary.mkdir(exist_ok=True)
                np.lib.format.open_memmap(temporary / path.name, 'w+', dtype, shape)
                try:
                    # A folder cannot replace another one that is not empty.
                    temporary.rename(path.parent)
                except OSError:
                    if not path.exists():
                        raise
                    shutil.rmtree(temporary)  # another process was faster
            found = np.load(path, mmap_mode='r').shape
        except OSError as error:
            raise self._cannot_write(path, error) from error
        check_clips(path, found, shape)

    def _write(self, name: str, first: int, rows: np.ndarray) -> None:
        path = self._path(name)
        try:
            start = np.load(path, mmap_mode='r').offset + first * rows[0].nbytes
            with path.open('r+b') as file:
                file.seek(start)
                file.write(rows.tobytes())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._cannot_write(path, error) from error

    def _cannot_write(self, path: Path, error: OSError) -> UserError:
        return UserError(
            f'{path}: cannot be written ({error.strerror or error}); fix that, then run '
            'the same command to continue'
        )


def remove_leftover(out: str | os.PathLike) -> None:
    """Remove ``OUT.partial``, if any, of a run that was stopped after OUT was complete.

    Such a folder is older than OUT. A folder of a run that will replace OUT is newer, and is kept.
    """
    out = Path(out)
    partial = Path(f'{out}.partial')
    complete, done = out if out.suffix == '.npz' else out / 'features.npy', partial / 'done'
    if complete.is_file() and (file := done / 'array.npy').is_file():
        if file.stat().st_mtime_ns < complete.stat().st_mtime_ns:
            shutil.rmtree(partial, ignore_errors=True)
