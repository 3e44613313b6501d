"""Extract features of whole videos, or of their frames or clips, to memory or disk."""

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import chain
from operator import itemgetter
from pathlib import Path

import numpy as np
from mmengine.dist import all_gather_object, is_main_process
from torch import nn

from mmssl_video.errors import BadVideoError, UserError
from mmssl_video.passes import report_faults, run_pass

from .encoder import NotFiniteError, check_amp, encode_clips, to_host
from .features import FeatureSet
from .loader import VideoLoader
from .store import PartialFeatures, check_clips


def encode_videos(
    model: nn.Module,
    loader: VideoLoader,
    description: str,
    per_clip: bool = False,
    l2: bool = False,
    amp: str | None = None,
) -> FeatureSet:
    """Average the backbone's features over the frames or clips of each video.

    Every process encodes its part of the videos and gets the features of all.

    Args:
        model: Has a ``data_preprocessor`` and a ``backbone`` in eval mode.
        loader: Loader of the videos.
        description: Label of the progress bar, shown on a terminal only.
        per_clip: Whether each frame or clip gets its own row.
        l2: Whether to divide each row by its norm; rows of zeros do not change.
        amp: As for :func:`~mmssl_video.evaluation.encoder.encode_clips`.

    Returns:
        FeatureSet: The videos that could be read, in the order of their list, and their clips in
        the order of the pipeline.

    Raises:
        UserError: If a video that must not be left out cannot be read or has features that are not
            finite; no video is left; or, with ``per_clip``, videos differ in their number of clips.
    """
    found = encode_each(model, loader, description, per_clip, l2, amp)
    source = loader.dataset.ann_file or loader.dataset.root
    if not found:
        raise UserError(f'{source}: none of its videos can be read')
    features = list(found.values())
    for other in features:
        check_clips(source, features[0].shape, other.shape)
    return _feature_set(loader, list(found), np.stack(features), per_clip)


def encode_each(
    model: nn.Module,
    loader: VideoLoader,
    description: str,
    per_clip: bool = False,
    l2: bool = False,
    amp: str | None = None,
) -> dict[int, np.ndarray]:
    """Encode videos to features float32 [M, D], by the numbers of the readable videos, in order.

    Arguments and errors are those of :func:`encode_videos`.
    """
    found = []

    def keep(numbers: list[int], features: np.ndarray) -> None:
        found.extend(zip(numbers, features, strict=True))

    _encode(model, loader, keep, description, per_clip, l2, amp)
    return dict(sorted(chain(*all_gather_object(found)), key=itemgetter(0)))


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
    amp: str | None = None,
) -> FeatureSet:
    """Encode the videos of a list, with a :class:`VideoLoader` and :func:`encode_videos`.

    Args:
        model: From :func:`~mmssl_video.evaluation.encoder.build_encoder`.

    Raises:
        UserError: If a video cannot be read, or the list has none.
    """
    loader = VideoLoader(pipeline, ann_file, data_root, batch_size, num_workers, skip_bad, dataset)
    return encode_videos(model, loader, description, amp=amp)


def write_features(
    out: str | os.PathLike,
    model: nn.Module,
    loader: VideoLoader,
    settings: dict,
    description: str = 'Features',
    per_clip: bool = False,
    l2: bool = False,
    amp: str | None = None,
) -> tuple[tuple[int, int, int], dict[str, str]] | None:
    """Encode the videos of a list to disk; continues an interrupted run.

    Every process encodes its part. Unfinished features are in the folder ``OUT.partial``. Except
    for the names of the videos, the memory does not depend on their number. A continued run encodes
    videos again that have changed. It also tries those again that cannot be read or have features
    that are not finite; at the end they are listed in ``OUT.bad_videos.txt``, with lines
    ``name<TAB>reason``.

    Args:
        out: Path for :meth:`FeatureSet.save`, spelled the same in every process.
        model: From :func:`~mmssl_video.evaluation.encoder.build_encoder`.
        loader: Loader of the videos.
        settings: From :func:`~mmssl_video.evaluation.store.extraction_settings`.
        description, per_clip, l2, amp: As in :func:`encode_videos`.

    Returns:
        The number of videos, of rows per video and of features in a row; and why other videos
        cannot be read, by name. ``None`` in all processes except the first.

    Raises:
        UserError: If a video that must not be left out cannot be read or has features that are not
            finite; no video can be read; the unfinished features have other settings; or something
            cannot be written. An error in one process stops all.
    """
    videos = loader.dataset
    every = range(len(videos))
    paths = [videos.get_path(number) for number in every]
    partial = PartialFeatures(Path(f'{Path(out)}.partial'), settings, paths)
    faults = _encode(model, loader, partial.write, description, per_clip, l2, amp, partial.done)
    # A list may contain a video more than once.
    names = {paths[n]: videos.get_name(n) for n in every} if faults else {}
    bad_videos = {names[path]: fault for path, fault in faults.items()}
    report_faults(f'{Path(out)}.bad_videos.txt', bad_videos, len(names) or len(videos))
    if not is_main_process():
        return None
    numbers, features = partial.read()
    rest = set(every).difference(numbers.tolist())
    if missing := [n for n in rest if paths[n] not in faults]:
        raise UserError(
            f'{partial.folder}: {len(missing)} videos are missing; run the command again'
        )
    _feature_set(loader, numbers, features, per_clip, settings).save(out)
    shape = features.shape
    del features  # some file systems cannot remove what is mapped
    shutil.rmtree(partial.folder, ignore_errors=True)
    return shape, bad_videos


def _encode(
    model: nn.Module,
    loader: VideoLoader,
    keep: Callable[[list[int], np.ndarray], None],
    description: str,
    per_clip: bool,
    l2: bool,
    amp: str | None,
    done: np.ndarray | None = None,
) -> dict[str, str]:
    """Encode this process's part, a batch at a time.

    The last bits of a feature may depend on the other videos of its batch. So batches are the same
    for any number of processes, and after an interruption.

    Args:
        keep: Gets numbers of videos and their features float32 [n, M, D].
        done: bool [N], videos that already have features.

    Returns:
        Why videos of any process are left out, by path.
    """
    videos = loader.dataset
    check_amp(model, amp)

    def consume(batch: dict) -> Iterator[BadVideoError]:
        loader.keep(batch)
        numbers = np.array(batch['number'])
        shapes = {clips.shape for clips in batch['inputs']}
        if len(shapes) > 1:
            raise UserError(
                f'{videos.get_path(numbers[0])} and others of its batch differ in their clips '
                f'({", ".join(str(list(shape)) for shape in sorted(shapes))}); set `batch_size=1`'
            )
        return finish(numbers, to_host(encode_clips(model, batch, per_clip, l2, amp)))

    def finish(numbers: np.ndarray, wait: Callable[[], np.ndarray]) -> Iterator[BadVideoError]:
        features = wait()
        finite = np.isfinite(features).all(axis=(1, 2))
        # If the run stops here, it encodes the same batch again when it is continued.
        if finite.all() or (loader.skip_bad and finite.any()):
            keep(numbers[finite].tolist(), features[finite])
        for number in numbers[~finite]:
            yield NotFiniteError(videos.get_path(number))

    return run_pass(
        range(len(videos)),
        loader.read,
        consume,
        name=videos.get_path,
        done=None if done is None else done.__getitem__,
        batch_size=loader.batch_size,
        description=description,
        num_workers=loader.num_workers,
        to_device=True,
        kept=loader.kept,
        skip_bad=loader.skip_bad,
    )


def _feature_set(
    loader: VideoLoader,
    numbers: np.ndarray,
    features: np.ndarray,
    per_clip: bool,
    settings: dict | None = None,
) -> FeatureSet:
    """Join the features [n, M, D] of videos with their names and labels."""
    videos, num_clips = loader.dataset, features.shape[1]
    labels = [videos.get_data_info(number)['label'] for number in numbers]
    names = [videos.get_name(number) for number in numbers]
    return FeatureSet(
        features.reshape(-1, features.shape[2]),
        np.repeat(labels, num_clips),
        np.repeat(names, num_clips),
        videos.ann_file or videos.root,
        np.tile(np.arange(num_clips), len(numbers)) if per_clip else None,
        settings,
    )
