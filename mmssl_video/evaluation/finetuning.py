"""Make fine-tuning configs for the network of any pretraining recipe."""

from copy import deepcopy

import torch
from mmaction.models import VisionTransformer
from mmengine.config import Config, ConfigDict
from torch import nn

from mmssl_video.models.encoding import encode

from .loader import SAMPLERS, feature_pipeline


def finetune_config(base: Config, cfg: Config, encoder: nn.Module) -> Config:
    """Adapt a fine-tuning config to the network and the videos of a pretraining recipe.

    The labelled videos have the pipeline of the features, but with random crops in time and space,
    and with random flips if pretraining has them. The caller sets the lists, the classes and the
    initial weights. A vision transformer passes the mean of its tokens, normalised by ``fc_norm``,
    to the base's head, and has the base's stochastic depth and layer-wise decay.

    Args:
        base: Config of a recognizer with a ``cls_head``; its optimiser, schedule and loaders are
            kept. For a vision transformer, its recognizer must have one too; otherwise, it must be
            a recognizer of frames.
        cfg: Config of pretraining, with a ``feature_pipeline``.
        encoder: Its network, from ``build_encoder``.
    """
    tuning = deepcopy(base)
    format_shape = cfg.model.data_preprocessor.format_shape
    clips = format_shape == 'NCTHW'
    model, drop_path_rate = tuning.model, base.model.backbone.get('drop_path_rate')
    model.backbone = deepcopy(cfg.model.backbone)
    model.data_preprocessor = cfg.model.data_preprocessor
    num_segments = 1 if clips else getattr(encoder.backbone, 'num_segments', 3)  # TSM's, or 3
    if isinstance(encoder.backbone, VisionTransformer):
        model.backbone.update(
            type='VisionTransformer',
            use_mean_pooling=True,
            return_feat_map=False,
            drop_path_rate=drop_path_rate,
        )
        tuning.optim_wrapper.paramwise_cfg.num_layers = len(encoder.backbone.blocks)
        channels = encoder.backbone.embed_dims
    else:
        with torch.no_grad():
            inputs = torch.zeros(num_segments, 3, *([8] if clips else []), 64, 64)
            inputs = inputs.to(next(encoder.parameters()).device)
            channels = encode(encoder.backbone, inputs, format_shape).shape[-1]
        if clips:
            model.type = 'Recognizer3D'
            model.cls_head = ConfigDict(type='I3DHead', average_clips='prob')
    model.cls_head.in_channels = channels
    augmented = []
    for step in feature_pipeline(cfg, num_segments):
        if step['type'] in SAMPLERS:
            step['test_mode'] = False
        if step['type'] == 'CenterCrop':
            step = dict(type='RandomCrop', size=step['crop_size'])
        if step['type'] == 'FormatShape' and mirrors(cfg.train_dataloader.dataset.pipeline):
            augmented.append(dict(type='Flip', flip_ratio=0.5))
        augmented.append(step)
    tuning.train_dataloader.dataset.pipeline = augmented
    tuning.test_dataloader.dataset.pipeline = feature_pipeline(
        cfg, None if clips else 2 * num_segments
    )
    return tuning


def is_transformer(cfg: Config) -> bool:
    """Whether the network of a recipe is a vision transformer, by the name of its type."""
    return cfg.model.backbone.type.endswith('VisionTransformer')


def mirrors(pipeline: list[dict]) -> bool:
    """Whether a pipeline flips videos."""
    return any(step['type'] == 'Flip' or mirrors(step.get('transforms', ())) for step in pipeline)
