"""Show the predictions of masked tokens of a clip beside the original pixels."""

from dataclasses import replace

import numpy as np
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.device import get_device
from torch import Tensor, nn

from mmssl_video.checkpoints.fitting import fit_tensors
from mmssl_video.checkpoints.loading import load_checkpoint_file
from mmssl_video.errors import UserError
from mmssl_video.models.heads.videomae import VideoMAEHead, complement, normalize_patches, take

from .browse import FedSample

MASKED, PREDICTED = 'masked input', 'prediction'
WITH_TRUTH = 'prediction with\nthe true mean\nand contrast of\neach token'
WHOLE = 'original input'
ROWS = (MASKED, PREDICTED, WITH_TRUTH, WHOLE)
"""Headings of a sheet, in order. Visible tokens are unchanged in all rows."""
HIDDEN = 128.0  # grey


def build_model(cfg: Config, checkpoint: str) -> nn.Module:
    """Build a model with the backbone and the masked head of a checkpoint, in eval mode.

    Args:
        cfg: Config of pretraining, with a ``VideoMAEHead``.
        checkpoint: Checkpoint of pretraining with this config.

    Raises:
        UserError: If the config has no such head, or the checkpoint does not fit.
    """
    model = MODELS.build(cfg.model)
    name = masked_head(model)
    if name is None:
        raise UserError(
            f'{cfg.filename}: this config has no VideoMAEHead, which predicts pixels; '
            'give a config of masked prediction, such as those of configs/videomae'
        )
    state = load_checkpoint_file(checkpoint)
    remedy = 'give the config and a checkpoint of the same pretraining'
    for prefix, module in (('backbone.', model.backbone), (f'heads.{name}.', model.heads[name])):
        module.load_state_dict(fit_tensors(state, module, prefix, checkpoint, remedy))
    return model.to(get_device()).eval()


def masked_head(model: nn.Module) -> str | None:
    """Name of the first head that predicts pixels of masked tokens, if there is one."""
    heads = getattr(model, 'heads', {})
    return next((name for name in heads if isinstance(heads[name], VideoMAEHead)), None)


@torch.no_grad()
def reconstruct(model: nn.Module, sample: FedSample, seed: int = 0) -> FedSample:
    """Hide tokens of each clip that the masked head reads, and predict them.

    In the row ``prediction``, all hidden tokens have the mean colour and the mean contrast
    (standard deviation) of the visible ones, because the head predicts neither. In the row below,
    each hidden token has its true mean and contrast. A network does not know these, and they alone
    already show a coarse picture.

    Args:
        model: From :func:`build_model`.
        sample: From :func:`~mmssl_video.visualization.browse.read_sample`.
        seed: Seed of the masks, which do not depend on the device.

    Returns:
        The sample with the clips of these views only, each with ``made`` for ``ROWS``. Its facts
        are the mask, and the mean squared error of these clips beside that at chance.
    """
    head = model.heads[masked_head(model)]
    device = next(model.parameters()).device
    views, errors = [], []
    for view in head.online_views:
        clips = []
        for number, clip in enumerate(sample.views[view]):
            pixels = torch.from_numpy(clip.fed).permute(3, 0, 1, 2)[None]  # [1, 3, T, H, W]
            with torch.random.fork_rng():
                torch.manual_seed(seed + number)
                visible = head.draw_visible(pixels[None])[0][0].to(device)
            fed = model.data_preprocessor(dict(inputs=[pixels], data_samples=[ActionDataSample()]))
            tokens = model.backbone.forward_visible(fed['inputs'][0], visible)
            patches = head.cut(pixels.to(device).float())
            masked = complement(visible, patches.shape[1])
            predicted = head.decode(tokens, visible, masked)
            errors.append((predicted - take(normalize_patches(patches), masked)).square().mean())
            rows = _rows(patches, predicted, visible, masked)
            grid = head.grid(pixels)
            made = {name: _to_image(head.join(row, grid)) for name, row in rows.items()}
            clips.append(replace(clip, made={**made, WHOLE: clip.fed}))
        views.append(clips)
    share = 100 * masked.shape[1] / patches.shape[1]
    facts = [
        f'{type(head.mask).__name__}, {share:.0f} % of the tokens hidden',
        f'mean squared error {torch.stack(errors).mean():.2f}, '
        f'at chance {head.chance_level(1):.2f}',
    ]
    return replace(sample, facts=facts, views=views)


def _rows(patches: Tensor, predicted: Tensor, visible: Tensor, masked: Tensor) -> dict[str, Tensor]:
    """Make the tokens [1, P, n, 3] of the rows with hidden tokens.

    Args:
        patches: True tokens, 0 to 255, [1, P, n, 3].
        predicted: Predictions of the head, [1, P - L, n, 3].
        visible, masked: Indices of the tokens, int64 [1, L] and [1, P - L].
    """
    mean, deviation = patches.mean(dim=2, keepdim=True), patches.std(dim=2, keepdim=True)
    seen = [take(each, visible).mean(dim=1, keepdim=True) for each in (mean, deviation)]
    true = take(mean, masked), take(deviation, masked)
    places = masked[..., None, None].expand_as(predicted)
    return {
        name: patches.scatter(1, places, values)
        for name, values in (
            (MASKED, torch.full_like(predicted, HIDDEN)),
            (PREDICTED, seen[0] + seen[1] * predicted),
            (WITH_TRUTH, true[0] + true[1] * predicted),
        )
    }


def _to_image(clip: Tensor) -> np.ndarray:
    """Convert a clip [1, 3, T, H, W] to uint8 [T, H, W, 3]."""
    frames = clip[0].permute(1, 2, 3, 0).round().clamp(0, 255)
    return frames.to(torch.uint8).cpu().numpy()
