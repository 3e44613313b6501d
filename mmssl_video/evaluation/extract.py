"""Features of whole videos, or of their frames or clips, from a config and a checkpoint."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from difflib import get_close_matches
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.dist import (
    all_gather_object,
    get_rank,
    get_world_size,
    init_dist,
    is_main_process,
)
from mmengine.logging import MMLogger, print_log
from mmengine.utils.dl_utils import set_multi_processing
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from mmssl_video.compat import load_checkpoint_file, prepare_launch
from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.errors import UserError
from mmssl_video.files import atomic_path, claim_folder
from mmssl_video.models.encoding import encode, pool
from mmssl_video.models.weights import BRANCHES, fit_tensors

from .features import CHUNK_VALUES, FeatureSet

DATASET_OPTIONS = ('filename_tmpl', 'start_index', 'backend_args')
SAMPLERS = ('SampleFrames', 'DenseSampleFrames', 'UniformSample')
NOT_FINITE = 'its features are not finite'
PATIENCE = 7 * 24 * 3600  # seconds that a process waits for one with longer videos
Result = TypeVar('Result')


# Processes ----------------------------------------------------------------------------------


def start_processes(cfg: Config, launcher: str) -> None:
    """Join the processes that extract together.

    Through gloo also on GPUs: nothing but small objects goes from one to another.

    Args:
        cfg: Its ``env_cfg.dist_cfg`` is of training and does not count.
        launcher: As for :func:`~mmssl_video.compat.prepare_launch`; nothing happens for 'none'.
    """
    if launcher != 'none':
        prepare_launch(cfg, launcher)
        set_multi_processing(distributed=True)
        init_dist(launcher, backend='gloo', timeout=PATIENCE)


def run_together(work: Callable[[], Result]) -> list[Result]:
    """Run ``work`` in each process; what fails in one fails in all, when all have come to its end.

    Returns:
        What it gives in each process, by their ranks.

    Raises:
        Exception: In the process where it has failed.
        UserError: With the same message, in the others.
    """
    result = fault = failure = None
    try:
        result = work()
    except Exception as error:
        failure = error
        fault = str(error) if isinstance(error, UserError) else f'{type(error).__name__}: {error}'
        if get_world_size() > 1:
            line = (fault.splitlines() or [''])[-1]  # the last one, where a worker has sent more
            message = f'process {get_rank()} has stopped and waits for the others: {line}'
            print_log(message, logger='current', level=logging.ERROR)
    outcomes = all_gather_object((result, fault))
    if failure is not None:
        raise failure
    for _, fault in outcomes:
        if fault is not None:
            raise UserError(fault)
    return [result for result, _ in outcomes]


# Encoders -----------------------------------------------------------------------------------


def build_encoder(
    cfg: Config,
    checkpoint: str | None,
    seed: int = 0,
    branch: str = 'online',
    layer: str | None = None,
    trusted: bool = False,
) -> nn.Module:
    """Build the config's model with the backbone of a checkpoint, in eval mode on the device.

    Args:
        cfg: Of pretraining or of a recognizer of MMAction2; weights that it names are not loaded.
        checkpoint: A file with a ``backbone.`` in MMAction2's key layout, of a TSM with or without
            the shift; ``None`` for the random weights of the config's initialisation.
        seed: Seed of the random weights.
        branch: A key of `BRANCHES`: the backbone itself or its momentum copy. Random weights are
            the same in both.
        layer: Dotted name of a layer of the backbone, ``layer4.1.conv2``, whose output takes the
            place of the backbone's; see :class:`LayerOutput`.
        trusted: Whether the file may hold any Python object, and so run any code.

    Raises:
        UserError: If the checkpoint's backbone does not fit the config's, key by key, the
            checkpoint has no such branch, or the backbone no such layer.
    """
    torch.manual_seed(seed)
    model_cfg = deepcopy(cfg.model)
    # What MMAction2's configs start from would else take the place of the random weights.
    if 'pretrained' in model_cfg.backbone:
        model_cfg.backbone.pretrained = None
    if (model_cfg.backbone.get('init_cfg') or {}).get('type') == 'Pretrained':
        model_cfg.backbone.pop('init_cfg')
    model = MODELS.build(model_cfg)
    if checkpoint is None:
        logger = MMLogger.get_current_instance()
        level = logger.level
        logger.setLevel('WARNING')  # MMEngine would list every parameter that it initialises
        model.init_weights()
        logger.setLevel(level)
    else:
        other = (
            'leave out --branch target'
            if branch == 'target'
            else 'convert it with tools/convert_weights.py'
        )
        fitted = fit_tensors(
            load_checkpoint_file(checkpoint, trusted),
            model.backbone,
            BRANCHES[branch],
            checkpoint,
            f'use the config it was trained with, or {other}',
        )
        model.backbone.load_state_dict(fitted)
    if layer is not None:
        model.backbone = LayerOutput(model.backbone, layer)
    return model.to(get_device()).eval()


class LayerOutput(nn.Module):
    """A backbone whose output is that of one of its layers, averaged over space and time.

    The layer gives vectors [M, D] or maps [M, D, (T,) H, W], or a sequence of which the last
    counts. Tokens [M, tokens, D] of a transformer are refused, and maps with the channels at the
    end, as all stages and blocks of a Video Swin give them; their LayerNorm or Linear tells them,
    so that a layer without any, as an activation, passes. Of a layer that is run several times in
    a forward pass, the last time counts.

    Args:
        backbone (nn.Module): Any backbone.
        layer (str): Dotted name of a layer in it.

    Raises:
        UserError: If there is no such layer; in the forward pass, if it is not run or its output
            has another shape.
    """

    def __init__(self, backbone: nn.Module, layer: str) -> None:
        super().__init__()
        names = [name for name, _ in backbone.named_modules() if name]
        if layer not in names:
            near = get_close_matches(layer, names, n=5, cutoff=0) or ['none']
            raise UserError(
                f'--layer: {type(backbone).__name__} has no layer {layer!r}; near are '
                f'{", ".join(near)}'
            )
        self.backbone = backbone
        self.layer = layer
        backbone.get_submodule(layer).register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple, output: object) -> None:
        while isinstance(output, (tuple, list)):
            output = output[-1]
        # Averaged here, for the next layer may work in place.
        is_map = isinstance(output, Tensor) and output.ndim in (2, 4, 5)
        if is_map and output.ndim > 2:
            # What these layers give has its channels at the end, until they are moved.
            widths = {part.normalized_shape[-1] for part in _parts(module, nn.LayerNorm)}
            widths |= {part.out_features for part in _parts(module, nn.Linear)}
            is_map = output.shape[1] in widths or output.shape[-1] not in widths
        self._output = pool(output, leading=1) if is_map else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Encode [M, C, ...] to [M, D]."""
        self._output = None
        self.backbone(inputs)
        if self._output is None or len(self._output) != len(inputs):
            raise UserError(
                f'--layer: {self.layer!r} gives neither vectors [M, D] nor maps [M, D, (T,) H, W] '
                f'of M={len(inputs)} frames or clips in the forward pass (tokens, or channels at '
                "the end, cannot be taken); choose another layer, or the backbone's output"
            )
        return self._output


def _parts(module: nn.Module, kind: type) -> list:
    return [part for part in module.modules() if isinstance(part, kind)]


class PixelEncoder(nn.Module):
    """Raw downscaled pixels in place of a backbone: the baseline that any network has to beat.

    Args:
        data_preprocessor (dict): Config of MMAction2's ``ActionDataPreprocessor``.
        size (int): Side of the picture that each frame, or the mean of a clip's frames, is
            averaged down to; D = 3 * size * size.
    """

    def __init__(self, data_preprocessor: dict, size: int = 16) -> None:
        super().__init__()
        self.data_preprocessor = MODELS.build(data_preprocessor)
        if self.data_preprocessor.format_shape == 'NCTHW':
            pool = nn.AdaptiveAvgPool3d((1, size, size))
        else:
            pool = nn.AdaptiveAvgPool2d(size)
        # Flattened to a map of one location, over which `encode` has nothing to average.
        self.backbone = nn.Sequential(pool, nn.Flatten(), nn.Unflatten(1, (-1, 1)))


def feature_pipeline(cfg: Config, num_frames: int | None = None) -> list[dict]:
    """The pipeline that shows a whole video to the backbone.

    It is the config's ``feature_pipeline``, or ``test_pipeline`` where there is none.

    Args:
        num_frames: Number of frames (2D) or clips (3D), evenly spaced; default the pipeline's own.

    Raises:
        UserError: If the config has no such pipeline, or no sampler in it takes a number.
    """
    pipeline = cfg.get('feature_pipeline') or cfg.get('test_pipeline')
    if pipeline is None:
        raise UserError(f'{cfg.filename} has neither feature_pipeline nor test_pipeline; add one')
    pipeline = [step.copy() for step in pipeline]
    if num_frames is not None:
        samplers = [step for step in pipeline if step['type'] in SAMPLERS]
        if not samplers:
            raise UserError(
                f'--num-frames: the feature pipeline of {cfg.filename} has none of '
                f'{", ".join(SAMPLERS)}; leave it out, or change the pipeline'
            )
        samplers[0]['num_clips'] = num_frames
    return pipeline


def dataset_options(cfg: Config) -> dict:
    """How the config's training videos are called and stored; those of evaluation are alike."""
    trained_on = cfg.get('train_dataloader', {}).get('dataset', {})
    return {key: trained_on[key] for key in DATASET_OPTIONS if key in trained_on}


class _ListedVideos(UnlabeledVideoDataset):
    """Every video of a list at its place; one that cannot be read has the reason for a sample.

    So a video keeps its number whatever becomes of the others.
    """

    _remedy = (
        'remove it from the list and the folder, or leave such videos out with --skip-bad of '
        'tools/extract_features.py'
    )

    def _check_files(self, entries: list[dict], source: str) -> list[dict]:
        return entries if self.bad_videos == 'skip' else super()._check_files(entries, source)

    def prepare_data(self, idx: int) -> dict:
        """The sample with its ``number``; ``data_samples`` is a ``str`` if it cannot be read."""
        bad_videos, self.bad_videos = self.bad_videos, 'raise'
        try:
            sample = super().prepare_data(idx)
        except UserError as error:
            # A mistake in the pipeline has no cause.
            if bad_videos == 'raise' or error.__cause__ is None:
                raise
            reason = f'{type(error.__cause__).__name__}: {error.__cause__}'.splitlines()[0]
            sample = {'inputs': torch.empty(0), 'data_samples': reason}
        finally:
            self.bad_videos = bad_videos
        return {**sample, 'number': idx}


class _Batches:
    """Numbers of the videos in each batch of this process, without those that are done.

    Batches are the same for any number of processes, and after an interruption: which videos are
    encoded together may change the last bits of a feature.

    Attributes:
        done (np.ndarray): bool [N], the same in every process.
    """

    def __init__(self, num_videos: int, batch_size: int) -> None:
        self.done = np.zeros(num_videos, bool)
        self.batch_size = batch_size

    def _share(self) -> list[list[int]]:
        every = np.arange(len(self.done))
        batches = np.split(every, every[self.batch_size :: self.batch_size])
        pending = (batch[~self.done[batch]].tolist() for batch in batches)
        return list(filter(None, pending))[get_rank() :: get_world_size()]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._share())

    def __len__(self) -> int:
        return len(self._share())


def build_video_loader(
    pipeline: list[dict],
    ann_file: str,
    data_root: str,
    batch_size: int = 4,
    num_workers: int = 2,
    skip_bad: bool = False,
    dataset: dict | None = None,
) -> DataLoader:
    """Load the videos of a list in its order; of several processes, each its share.

    Args:
        pipeline: Of :func:`feature_pipeline`.
        ann_file: MMAction2 list; without one, every video below ``data_root``.
        data_root: Folder that the list is relative to.
        batch_size: Videos at a time.
        num_workers: Processes that decode; 0 for none.
        skip_bad: Whether to leave out videos that cannot be read, each with a warning.
        dataset: Further arguments of ``UnlabeledVideoDataset``, e.g. :func:`dataset_options`.

    Raises:
        UserError: If the list cannot be read or has no video.
    """
    raw_frames = any(step['type'] == 'RawFrameDecode' for step in pipeline)
    videos = _ListedVideos(
        pipeline,
        ann_file,
        {'img' if raw_frames else 'video': data_root},
        bad_videos='skip' if skip_bad else 'raise',
        test_mode=True,
        **(dataset or {}),
    )
    return DataLoader(
        videos,
        batch_sampler=_Batches(len(videos), batch_size),
        num_workers=num_workers,
        collate_fn=pseudo_collate,
    )


# Not in inference mode, for a model that goes on training could not use tensors it keeps from here.
@torch.no_grad()
def _encode_batches(
    model: nn.Module, loader: DataLoader, description: str, per_clip: bool, l2: bool
) -> Iterator[tuple[list[int], np.ndarray, dict[int, str]]]:
    """Encode this process's share, a batch at a time.

    Yields:
        Numbers of n videos, their features float32 [n, M, D] with M = 1 unless ``per_clip``, and
        why others of the batch are left out, by number.
    """
    videos = loader.dataset
    console = Console(stderr=True)
    hidden = not (console.is_terminal and is_main_process())
    for batch in track(loader, description, console=console, disable=hidden):
        read = [row for row, clips in enumerate(batch['inputs']) if len(clips)]
        unreadable = {
            number: sample
            for number, sample in zip(batch['number'], batch['data_samples'], strict=True)
            if isinstance(sample, str)
        }
        for number, reason in unreadable.items():
            message = f'left out: {videos.get_name(number)} cannot be read ({reason})'
            print_log(message, logger='current', level=logging.WARNING)
        if not read:
            yield [], np.empty((0, 0, 0), np.float32), unreadable
            continue
        batch = {key: [values[row] for row in read] for key, values in batch.items()}
        numbers = batch.pop('number')
        shapes = {clips.shape for clips in batch['inputs']}
        if len(shapes) > 1:
            raise UserError(
                f'{videos.get_name(numbers[0])} and others of its batch differ in their clips '
                f'({", ".join(str(list(shape)) for shape in sorted(shapes))}); set --batch-size 1'
            )
        batch = model.data_preprocessor(batch, training=False)
        features = encode(model.backbone, batch['inputs'], model.data_preprocessor.format_shape)
        features = features.float()
        if not per_clip:
            features = features.mean(dim=1, keepdim=True)
        if l2:
            features = normalize(features, dim=-1)
        finite = features.isfinite().flatten(1).all(dim=1).cpu().numpy()
        for number in np.array(numbers)[~finite].tolist():
            message = f'{videos.get_name(number)}: {NOT_FINITE}'
            if videos.bad_videos == 'raise':
                raise UserError(
                    f'{message}; check that video and the checkpoint, or leave such videos out '
                    'with --skip-bad'
                )
            print_log(f'left out: {message}', logger='current', level=logging.WARNING)
            unreadable[number] = NOT_FINITE
        yield np.array(numbers)[finite].tolist(), features.cpu().numpy()[finite], unreadable


def _feature_set(
    videos: UnlabeledVideoDataset, numbers: np.ndarray, features: np.ndarray, per_clip: bool
) -> FeatureSet:
    """Features [n, M, D] of the videos of these numbers with their names and labels."""
    num_clips = features.shape[1]
    labels = [videos.get_data_info(number)['label'] for number in numbers]
    names = [videos.get_name(number) for number in numbers]
    return FeatureSet(
        features.reshape(-1, features.shape[2]),
        np.repeat(labels, num_clips),
        np.repeat(names, num_clips),
        videos.ann_file or videos.root,
        np.tile(np.arange(num_clips), len(numbers)) if per_clip else None,
    )


def _check_clips(source: object, first: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Compare the shapes [..., M, D] of the features of a video and of another one."""
    if first != other:
        raise UserError(
            f'{source}: has room for {list(first[-2:])} features of a video, not for '
            f'{list(other[-2:])}; leave out --per-clip where videos differ in their clips'
        )


def encode_videos(
    model: nn.Module,
    loader: DataLoader,
    description: str,
    per_clip: bool = False,
    l2: bool = False,
) -> FeatureSet:
    """Average the backbone's features over the frames or clips of each video.

    Every process encodes its share of the videos and gets the features of all.

    Args:
        model: Has a ``data_preprocessor`` and a ``backbone`` in eval mode.
        loader: Of :func:`build_video_loader`.
        description: Label of the progress bar, shown on a terminal only.
        per_clip: Whether each frame or clip gets a row of its own.
        l2: Whether each row is divided by its norm; a row of zeros stays as it is.

    Returns:
        FeatureSet: The videos that could be read, in the order of their list, and their clips in
        the order of the pipeline.

    Raises:
        UserError: If a video cannot be read, or its features are not finite, and it is not to be
            left out; none is left; or videos differ in their clips and each gets a row.
    """

    def encode_share() -> list[tuple[int, np.ndarray]]:
        batches = _encode_batches(model, loader, description, per_clip, l2)
        return [pair for batch in batches for pair in zip(batch[0], batch[1], strict=True)]

    everything = sorted(chain(*run_together(encode_share)), key=itemgetter(0))
    videos = loader.dataset
    source = videos.ann_file or videos.root
    if not everything:
        raise UserError(f'{source}: none of its videos can be read')
    numbers, features = zip(*everything, strict=True)
    for other in features:
        _check_clips(source, features[0].shape, other.shape)
    return _feature_set(videos, numbers, np.stack(features), per_clip)


def extract_features(
    model: nn.Module,
    pipeline: list[dict],
    ann_file: str,
    data_root: str,
    batch_size: int = 4,
    num_workers: int = 2,
    description: str = 'Features',
    skip_bad: bool = False,
    dataset: dict | None = None,
) -> FeatureSet:
    """Encode the videos of a list: :func:`build_video_loader`, then :func:`encode_videos`.

    Args:
        model: Of :func:`build_encoder`.

    Raises:
        UserError: If a video cannot be read, or the list has none.
    """
    loader = build_video_loader(
        pipeline, ann_file, data_root, batch_size, num_workers, skip_bad, dataset
    )
    return encode_videos(model, loader, description)


# Features on disk ---------------------------------------------------------------------------


def fingerprint(*parts: object) -> str:
    """Twelve hexadecimal digits that change with tensors, dicts, lists, strings and numbers."""
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
    loader: DataLoader,
    pipeline: list[dict],
    **options: object,
) -> dict:
    """What features depend on, in a few words that ``json`` can write.

    Args:
        cfg, checkpoint: Of the model; their names are told.
        model: Of :func:`build_encoder`.
        loader: Of :func:`build_video_loader`.
        pipeline: Of :func:`feature_pipeline`.
        options: Told as they are.
    """
    videos = loader.dataset
    shown = [cfg.model.backbone, cfg.model.get('data_preprocessor'), pipeline, dataset_options(cfg)]
    weights = chain.from_iterable(sorted(model.backbone.state_dict().items()))
    names = [videos.get_name(number) for number in range(len(videos))]
    source = videos.ann_file or videos.root
    return {
        'config': f'{Path(cfg.filename or "").name} {fingerprint(*shown)}',
        'weights': f'{Path(checkpoint or "random").name} {fingerprint(*weights)}',
        'videos': f'{Path(source).name} {fingerprint(os.path.abspath(videos.root), names)}',
        **options,
    }


class _Partial:
    """Features that are not all there yet, in a folder that several processes write to.

    ``features/array.npy`` float32 [N, M, D] has the features of all N videos, ``done/array.npy``
    bool [N] tells which ones are there, and ``settings.json`` what they are of. Arrays are written
    through files, not through memory maps: a full disk is then an error, and a mark reaches the
    disk after what it stands for.

    Args:
        folder: It may hold what an interrupted run has left.
        settings: Of the run.
        num_videos: N.

    Attributes:
        done (np.ndarray): bool [N], what is done as far as this process knows.

    Raises:
        UserError: If the folder holds features of other settings, or cannot be written.
    """

    def __init__(self, folder: Path, settings: dict, num_videos: int) -> None:
        self.folder = folder

        def claim() -> np.ndarray | None:
            if not is_main_process():
                return None
            claim_folder(folder, settings, 'unfinished features')
            self._create('done', (num_videos,), bool)
            return np.load(self._path('done'))

        # Of the first process, before anybody writes.
        self.done = run_together(claim)[0].copy()

    def _path(self, name: str) -> Path:
        return self.folder / name / 'array.npy'

    def write(self, numbers: list[int], features: np.ndarray) -> None:
        """Put the features [n, M, D] of n videos of one batch in their place and mark these."""
        self._create('features', (len(self.done), *features.shape[1:]), np.float32)
        runs = np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(numbers) != 1) + 1)
        for run in runs:
            self._write('features', numbers[run[0]], features[run])
        self.done[numbers] = True
        # All marks at once: what is left of a batch would be encoded by itself.
        self._write('done', numbers[0], self.done[numbers[0] : numbers[-1] + 1])

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers int64 [n] of the videos that are done; their features [n, M, D], on disk."""
        numbers = np.flatnonzero(np.load(self._path('done')))
        features = np.load(self._path('features'), mmap_mode='r')
        if len(numbers) < len(self.done):
            shutil.rmtree(self.folder / 'kept', ignore_errors=True)  # of an earlier attempt
            self._create('kept', (len(numbers), *features.shape[1:]), np.float32)
            step = max(1, CHUNK_VALUES // features[0].size)
            for start in range(0, len(numbers), step):
                self._write('kept', start, features[numbers[start : start + step]])
            features = np.load(self._path('kept'), mmap_mode='r')
        return numbers, features

    def _create(self, name: str, shape: tuple[int, ...], dtype: type) -> None:
        """Make an array of zeros, unless it is there; zeros take no room on the disk."""
        path = self._path(name)
        temporary = self.folder / f'.{name}.{get_rank()}'
        try:
            if not path.exists():
                temporary.mkdir(exist_ok=True)
                np.lib.format.open_memmap(temporary / path.name, 'w+', dtype, shape)
                try:
                    # A folder never takes the place of one with something in it.
                    temporary.rename(path.parent)
                except OSError:
                    if not path.exists():
                        raise
                    shutil.rmtree(temporary)  # another process was faster
            found = np.load(path, mmap_mode='r').shape
        except OSError as error:
            raise self._cannot_write(path, error) from error
        _check_clips(path, found, shape)

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
            f'{path}: cannot be written ({error.strerror or error}); mend that, and the same '
            'command goes on'
        )


def remove_leftover(out: str | os.PathLike) -> None:
    """Remove ``OUT.partial`` of a run that was stopped when OUT was complete, if it is there.

    Nothing has been written to it since OUT has been, other than to one of a run that is to
    replace OUT.
    """
    out = Path(out)
    partial = Path(f'{out}.partial')
    complete, done = out if out.suffix == '.npz' else out / 'features.npy', partial / 'done'
    if complete.is_file() and (file := done / 'array.npy').is_file():
        if file.stat().st_mtime_ns < complete.stat().st_mtime_ns:
            shutil.rmtree(partial, ignore_errors=True)


def write_features(
    out: str | os.PathLike,
    model: nn.Module,
    loader: DataLoader,
    settings: dict,
    description: str = 'Features',
    per_clip: bool = False,
    l2: bool = False,
) -> tuple[tuple[int, int, int], dict[str, str]] | None:
    """Encode the videos of a list to disk; what an interrupted run has done is not done again.

    Every process encodes its share. Until all is there it lies in the folder ``OUT.partial``.
    The memory that it takes does not depend on the number of videos, their names apart. Videos
    that cannot be read, or whose features are not finite, are tried again when the run is taken
    up; at the end they are listed in ``OUT.unreadable.txt``, a line ``name<TAB>reason`` for each.

    Args:
        out: For :meth:`FeatureSet.save`, in the same words for every process.
        model: Of :func:`build_encoder`.
        loader: Of :func:`build_video_loader`.
        settings: Of :func:`extraction_settings`.
        description, per_clip, l2: As in :func:`encode_videos`.

    Returns:
        The number of videos, of rows for each and of features in a row; and why other videos
        cannot be read, by name. ``None`` in all processes but the first.

    Raises:
        UserError: If a video cannot be read, or its features are not finite, and it is not to be
            left out; none can be read, the unfinished features are of other settings, or something
            cannot be written. Where this stops one process, it stops all.
    """
    videos = loader.dataset
    partial = _Partial(Path(f'{Path(out)}.partial'), settings, len(videos))
    loader.batch_sampler.done = partial.done.copy()
    if partial.done.any() and is_main_process():
        message = f'{partial.folder}: {partial.done.sum()} of {len(videos)} videos are there'
        print_log(message, logger='current')

    def encode_share() -> list[tuple[int, str]]:
        faults = []
        batches = _encode_batches(model, loader, description, per_clip, l2)
        for numbers, features, unreadable in batches:
            if numbers:
                partial.write(numbers, features)
            faults.extend(unreadable.items())
        return faults

    faults = sorted(chain(*run_together(encode_share)))
    if not is_main_process():
        return None
    unreadable = {videos.get_name(number): reason for number, reason in faults}
    report = Path(f'{Path(out)}.unreadable.txt')
    report.unlink(missing_ok=True)
    if unreadable:
        with atomic_path(report) as temporary:
            temporary.write_text(
                ''.join(f'{name}\t{reason}\n' for name, reason in unreadable.items())
            )
    if len(faults) == len(videos):
        raise UserError(
            f'{report}: none of the videos can be read; see there why, check --data-root'
        )
    numbers, features = partial.read()
    if missing := len(videos) - len(numbers) - len(faults):
        raise UserError(f'{partial.folder}: {missing} videos are missing; run the command again')
    _feature_set(videos, numbers, features, per_clip).save(out, settings)
    shape = features.shape
    del features  # some file systems cannot remove what is mapped
    shutil.rmtree(partial.folder, ignore_errors=True)
    return shape, unreadable
