"""Features of whole videos from a config and a checkpoint."""

from copy import deepcopy

import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import track
from torch import nn

from mmssl_video.compat import load_checkpoint_file
from mmssl_video.errors import UserError
from mmssl_video.models.encoding import encode

from .features import FeatureSet

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
        size (int): Side of the picture that each frame is averaged down to; D = 3 * size * size.
    """

    def __init__(self, data_preprocessor: dict, size: int = 16) -> None:
        super().__init__()
        self.data_preprocessor = MODELS.build(data_preprocessor)
        # Flattened to a map of one location, over which `encode` has nothing to average.
        self.backbone = nn.Sequential(
            nn.AdaptiveAvgPool2d(size), nn.Flatten(), nn.Unflatten(1, (-1, 1))
        )


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


@torch.inference_mode()
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
    """Average the backbone's features over the frames or clips of each video.

    Args:
        model: Of :func:`build_encoder`.
        pipeline: Of :func:`feature_pipeline`.
        ann_file: MMAction2 list; without one, every video below ``data_root``.
        data_root: Folder that the list is relative to.
        batch_size: Videos at a time.
        num_workers: Processes that decode; 0 for none.
        description: Label of the progress bar.
        skip_bad: Whether to leave out videos that cannot be read, each with a warning.
        dataset: Further arguments of ``UnlabeledVideoDataset``, e.g. ``filename_tmpl``.

    Raises:
        UserError: If a video cannot be read, or the list has none.
    """
    raw_frames = any(step['type'] == 'RawFrameDecode' for step in pipeline)
    dataloader = Runner.build_dataloader(
        dict(
            batch_size=batch_size,
            num_workers=num_workers,
            sampler=dict(type='DefaultSampler', shuffle=False),
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
    videos = dataloader.dataset
    features, labels, names = [], [], []
    index = 0
    console = Console(stderr=True)
    for batch in track(dataloader, description, console=console, disable=not console.is_terminal):
        read = [row for row, clips in enumerate(batch['inputs']) if len(clips)]
        names += [videos.get_name(index + row) for row in read]
        index += len(batch['inputs'])
        if not read:
            continue
        batch = {key: [values[row] for row in read] for key, values in batch.items()}
        batch = model.data_preprocessor(batch, training=False)
        clips = encode(model.backbone, batch['inputs'], model.data_preprocessor.format_shape)
        features.append(clips.mean(dim=1).float().cpu())
        labels += [int(sample.gt_label) for sample in batch['data_samples']]
    if not names:
        raise UserError(f'{ann_file or data_root}: none of its videos can be read')
    return FeatureSet(torch.cat(features).numpy(), labels, names)
