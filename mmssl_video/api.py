"""Pretraining and features from Python.

    from mmssl_video import Encoder, nearest_neighbours, pretrain

They do the same as tools/train.py, tools/extract_features.py and tools/retrieval.py.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch import nn

from .checkpoints.loading import load_checkpoint_file
from .config_check import apply_options, load_config
from .engine.hooks.resume_check import settings_of
from .engine.training import set_resume, train
from .errors import UserError
from .evaluation import FeatureSet
from .evaluation.encoder import build_encoder, encode_clips
from .evaluation.extract import extract_features
from .evaluation.loader import dataset_options, feature_pipeline
from .settings import differences, tell

PathLike = str | os.PathLike


def pretrain(
    config: PathLike | Config,
    videos: PathLike,
    work_dir: PathLike,
    ann_file: PathLike = '',
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Pretrain with a recipe, in this process, on all videos of a folder.

    A run that was stopped continues; one that has ended with the same settings is not run again.

    Args:
        config: As for :func:`~mmssl_video.config_check.load_config`.
        videos: The folder.
        work_dir: Folder for logs and checkpoints.
        ann_file: A list of videos, with paths relative to the folder; without one, all videos of
            the folder are used.
        seed: Seed of weights and draws.
        options: Settings to change, for example ``{'train_cfg.max_epochs': 20}``.

    Returns:
        Path: The last checkpoint.

    Raises:
        UserError: If a setting is unknown, no video is found, too many cannot be read, or the
            folder has a run of other settings.
    """
    cfg = load_config(config)
    apply_options(
        cfg,
        {
            'train_dataloader.dataset.data_prefix.video': str(videos),
            'train_dataloader.dataset.ann_file': str(ann_file),
            **(options or {}),
        },
    )
    cfg.launcher = 'none'
    cfg.work_dir = str(work_dir)
    cfg.randomness = dict(seed=seed)
    last = Path(cfg.work_dir, f'epoch_{cfg.train_cfg.max_epochs}.pth')
    if last.exists():
        _compare(cfg, last)
    else:
        set_resume(cfg)
        train(cfg)
    return last


def _compare(cfg: Config, checkpoint: Path) -> None:
    """Check that a run of this config has written a checkpoint."""
    meta = load_checkpoint_file(checkpoint)['meta']
    then, now = ({'seed': seed} for seed in (meta['seed'], cfg.randomness['seed']))
    if 'settings' in meta:  # of ResumeCheckHook
        then, now = then | meta['settings'], now | settings_of(cfg)
    if differ := differences(then, now):
        raise UserError(
            f'{checkpoint} is of a run with other settings ({tell(differ)}); use the same ones, or '
            'choose another `work_dir=DIR`'
        )


class Encoder:
    """A frozen backbone with the pipeline that shows videos to it.

    Args:
        config: A config of pretraining or of a recognizer of MMAction2, as for
            :func:`~mmssl_video.config_check.load_config`.
        checkpoint: A checkpoint of the config's network; ``None`` for random weights.
        num_frames: Frames (2D) or clips (3D) of a video, evenly spaced; by default the config's.
        options: Arguments of :func:`~mmssl_video.evaluation.encoder.build_encoder`: ``seed``,
            ``branch``, ``layer``, ``trust``.

    Attributes:
        cfg (Config): The config.
        model (nn.Module): The model in eval mode, on the GPU if there is one.

    Raises:
        UserError: If the checkpoint does not fit the config.
    """

    def __init__(
        self,
        config: PathLike | Config,
        checkpoint: PathLike | None = None,
        num_frames: int | None = None,
        **options: Any,
    ) -> None:
        self.cfg = load_config(config)
        init_default_scope(self.cfg.get('default_scope', 'mmaction'))
        self.pipeline = feature_pipeline(self.cfg, num_frames)
        self.model = build_encoder(self.cfg, checkpoint and str(checkpoint), **options)

    @property
    def backbone(self) -> nn.Module:
        """The backbone, for any training loop.

        It takes frames [M, 3, H, W] in 2D and clips [M, 3, T, H, W] in 3D, normalised by the
        config's ``data_preprocessor``, and returns its map or maps.
        """
        return self.model.backbone

    def features(
        self,
        videos: PathLike | Sequence[PathLike],
        labels: Sequence[int] | None = None,
        batch_size: int = 4,
        num_workers: int = 2,
        skip_bad: bool = False,
        amp: str | None = None,
    ) -> FeatureSet:
        """Encode videos.

        Args:
            videos: A folder, or one or more paths of videos.
            labels: Class numbers of the paths, integers.
            batch_size: Videos at a time.
            num_workers: Processes that decode.
            skip_bad: Whether to leave out videos that cannot be read, with a warning.
            amp: ``'bfloat16'`` or ``'float16'`` for mixed precision.

        Returns:
            FeatureSet: float32 [N, D], the mean over the frames or clips of each video. The name of
            a video is its path below the folder, or below the common folder of all paths.

        Raises:
            UserError: If a video cannot be read, or there is none.
            ValueError: If the numbers of labels and paths differ, or a folder is given labels.
        """
        loading = dict(
            batch_size=batch_size,
            num_workers=num_workers,
            skip_bad=skip_bad,
            dataset=dataset_options(self.cfg),
            amp=amp,
        )
        if isinstance(videos, (str, os.PathLike)) and os.path.isfile(videos):
            videos = [videos]
        if isinstance(videos, (str, os.PathLike)):  # a folder, or its URI
            if labels is not None:
                raise ValueError('labels are for a list of paths, not for a folder')
            return extract_features(self.model, self.pipeline, '', str(videos), **loading)
        paths = [str(Path(path).absolute()) for path in videos]
        if not paths:
            raise UserError('`videos=[]` has no video; give paths or a folder')
        labels = [-1] * len(paths) if labels is None else map(index, labels)
        loading['dataset']['entries'] = [
            dict(filename=path, label=label) for path, label in zip(paths, labels, strict=True)
        ]
        root = os.path.commonpath(map(os.path.dirname, paths))
        return extract_features(self.model, self.pipeline, '', root, **loading)

    def features_of_arrays(self, videos: Iterable[np.ndarray]) -> np.ndarray:
        """Encode decoded videos.

        Args:
            videos: uint8 [T, H, W, 3] each, RGB; sizes may differ.

        Returns:
            np.ndarray: float32 [N, D].
        """
        steps = [
            dict(type='ArrayDecode') if step['type'].endswith('Decode') else step
            for step in self.pipeline
            if not step['type'].endswith('Init')
        ]
        show = Compose(steps)
        features = []
        for frames in videos:
            sample = show(
                dict(array=frames, total_frames=len(frames), start_index=0, modality='RGB')
            )
            features.append(encode_clips(self.model, pseudo_collate([sample]))[0, 0].cpu().numpy())
        return np.stack(features)
