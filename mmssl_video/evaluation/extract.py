"""Features of whole videos from a config and a checkpoint."""

from copy import deepcopy
from itertools import chain, islice
from operator import itemgetter

import numpy as np
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_gather_object, is_main_process
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import track
from torch import nn
from torch.utils.data import DataLoader

from mmssl_video.compat import load_checkpoint_file
from mmssl_video.errors import UserError
from mmssl_video.models.encoding import encode

from .features import FeatureSet

DATASET_OPTIONS = ('filename_tmpl', 'start_index', 'backend_args')
SAMPLERS = ('SampleFrames', 'DenseSampleFrames', 'UniformSample')


def build_encoder(cfg: Config, checkpoint: str | None, seed: int = 0) -> nn.Module:
    """Build the config's model with the backbone of a checkpoint, in eval mode on the device.

    Args:
        cfg: Of pretraining or of a recognizer of MMAction2; weights that it names are not loaded.
        checkpoint: A file with a ``backbone.`` in MMAction2's key layout; ``None`` for the random
            weights of the config's initialisation.
        seed: Seed of the random weights.

    Raises:
        UserError: If the checkpoint's backbone does not fit the config's, key by key.
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
        state = load_checkpoint_file(checkpoint)
        state = state.get('state_dict', state)
        state = {
            key.removeprefix('module.').removeprefix('backbone.'): value
            for key, value in state.items()
            if key.removeprefix('module.').startswith('backbone.')
        }
        wanted = model.backbone.state_dict()
        faults = [
            f'{key} is missing'
            for key in wanted
            # A counter that weights of other projects may lack, and that evaluation does not read.
            if key not in state and not key.endswith('num_batches_tracked')
        ]
        faults += [f'{key} is not in the config' for key in state if key not in wanted]
        faults += [
            f'{key} is {tuple(state[key].shape)}, not {tuple(wanted[key].shape)}'
            for key in wanted
            if key in state and state[key].shape != wanted[key].shape
        ]
        if faults:
            raise UserError(
                f'{checkpoint}: its backbone does not fit {cfg.filename} ({len(faults)} keys, '
                f'first: backbone.{faults[0]}); use the config it was '
                'trained with, or convert it with tools/convert_weights.py'
            )
        model.backbone.load_state_dict(state)
    return model.to(get_device()).eval()


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
    return Runner.build_dataloader(
        dict(
            batch_size=batch_size,
            num_workers=num_workers,
            sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
            dataset=dict(
                type='UnlabeledVideoDataset',
                ann_file=ann_file,
                data_prefix={'img' if raw_frames else 'video': data_root},
                pipeline=pipeline,
                test_mode=True,
                bad_videos='skip' if skip_bad else 'raise',
                **(dataset or {}),
            ),
        )
    )


# Not in inference mode, for a model that goes on training could not use tensors it keeps from here.
@torch.no_grad()
def encode_videos(model: nn.Module, loader: DataLoader, description: str) -> FeatureSet:
    """Average the backbone's features over the frames or clips of each video.

    Every process encodes its share of the videos and gets the features of all.

    Args:
        model: Has a ``data_preprocessor`` and a ``backbone`` in eval mode.
        loader: Of :func:`build_video_loader`.
        description: Label of the progress bar, shown on a terminal only.

    Returns:
        FeatureSet: The videos that could be read, in the order of their list.

    Raises:
        UserError: If a video cannot be read and is not to be left out, or none can be read.
    """
    videos = loader.dataset
    indices = iter(loader.sampler)
    share = []
    console = Console(stderr=True)
    hidden = not (console.is_terminal and is_main_process())
    for batch in track(loader, description, console=console, disable=hidden):
        numbers = list(islice(indices, len(batch['inputs'])))
        read = [row for row, clips in enumerate(batch['inputs']) if len(clips)]
        if not read:
            continue
        batch = {key: [values[row] for row in read] for key, values in batch.items()}
        batch = model.data_preprocessor(batch, training=False)
        clips = encode(model.backbone, batch['inputs'], model.data_preprocessor.format_shape)
        features = clips.mean(dim=1).float().cpu().numpy()
        for row, feature, sample in zip(read, features, batch['data_samples'], strict=True):
            name = videos.get_name(numbers[row])
            share.append((numbers[row], feature, int(sample.gt_label), name))
    everything = sorted(chain(*all_gather_object(share)), key=itemgetter(0))
    source = videos.ann_file or videos.root
    if not everything:
        raise UserError(f'{source}: none of its videos can be read')
    _, features, labels, names = zip(*everything, strict=True)
    return FeatureSet(np.stack(features), labels, names, source)


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
