"""Build frozen encoders: the backbone of a checkpoint, one of its layers, or a head's context."""

from collections.abc import Callable
from copy import deepcopy
from difflib import get_close_matches

import numpy as np
import torch
from mmaction.models import VisionTransformer
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmssl_video.checkpoints.fitting import BRANCHES, fit_tensors
from mmssl_video.checkpoints.loading import load_checkpoint_file
from mmssl_video.compat import avoid_amx
from mmssl_video.errors import UnusableVideoError, UserError
from mmssl_video.models.encoding import encode, encode_maps, pool

AMP_DTYPES = 'bfloat16', 'float16'  # as MMEngine's AmpOptimWrapper names them


class NotFiniteError(UnusableVideoError):
    """The features of a video are not finite. Arguments as for ``BadVideoError``."""

    def __init__(
        self,
        path: str,
        reason: str = 'its features are not finite',
        remedy: str = 'check that video and the checkpoint',
    ) -> None:
        super().__init__(path, reason, remedy)


def build_encoder(
    cfg: Config,
    checkpoint: str | None,
    seed: int = 0,
    branch: str = 'online',
    layer: str | None = None,
    trust: bool = False,
) -> nn.Module:
    """Build the config's model with the backbone of a checkpoint, in eval mode on the device.

    A config may name one of its heads as ``feature_head``, for example ``'dpc'``. The feature of a
    video is then the ``context`` that this head computes from the maps of all clips, in their
    order, and the head is loaded as well. ``feature_head=None`` gives the backbone's features.

    Args:
        cfg: Config of pretraining or of an MMAction2 recognizer. Weights that it names are not
            loaded.
        checkpoint: A file with a ``backbone.`` in MMAction2's key layout, for TSM with or without
            the shift; ``None`` for the random weights of the config's initialisation. The feature
            of a ``VisionTransformer`` is the mean of its tokens.
        seed: Seed of the random weights.
        branch: A key of `BRANCHES`: the backbone itself or its momentum copy. Random weights are
            the same in both.
        layer: Dotted name of a layer of the backbone, such as ``layer4.1.conv2``. Its output is
            used instead of that of the backbone or ``feature_head``; see :class:`LayerOutput`.
        trust: Whether the file may have any Python object, and so run any code.

    Raises:
        UserError: If a key of the checkpoint's backbone or ``feature_head`` does not fit the
            config's, or if the branch, the layer or the head does not exist, the head has no
            context, or a head is used with the momentum copy.
    """
    torch.manual_seed(seed)
    model_cfg = deepcopy(cfg.model)
    model_cfg.pop('compile', None)  # for training; here it would take longer than it saves
    # Otherwise the weights that MMAction2's configs start from would replace the random ones.
    if 'pretrained' in model_cfg.backbone:
        model_cfg.backbone.pretrained = None
    if (model_cfg.backbone.get('init_cfg') or {}).get('type') == 'Pretrained':
        model_cfg.backbone.pop('init_cfg')
    model = MODELS.build(model_cfg)
    name = None if layer else cfg.get('feature_head')
    model.feature_head = None if name is None else _context_head(model, name, branch)
    if checkpoint is None:
        logger = MMLogger.get_current_instance()
        level = logger.level
        logger.setLevel('WARNING')  # MMEngine would list every parameter that it initialises
        model.init_weights()
        logger.setLevel(level)
    else:
        other = (
            'use `branch=online`'
            if branch == 'target'
            else 'convert it with tools/convert_weights.py'
        )
        state = load_checkpoint_file(checkpoint, trust)
        fitted = fit_tensors(
            state,
            model.backbone,
            BRANCHES[branch],
            checkpoint,
            f'use the config it was trained with, or {other}',
        )
        model.backbone.load_state_dict(fitted)
        if model.feature_head is not None:
            fitted = fit_tensors(
                state,
                model.feature_head,
                f'heads.{name}.',
                checkpoint,
                "use the config it was trained with, or the backbone's features: "
                '`cfg.feature_head=None`',
            )
            model.feature_head.load_state_dict(fitted)
    if isinstance(model.backbone, VisionTransformer) and model.backbone.fc_norm is None:
        # As in pretraining. MMAction2 would return the first token, which is only one patch.
        model.backbone.return_feat_map = True
    if layer is not None:
        model.backbone = LayerOutput(model.backbone, layer)
    return model.to(get_device()).eval()


def _context_head(model: nn.Module, name: str, branch: str) -> nn.Module:
    """Get the head that ``feature_head`` names."""
    heads = dict(getattr(model, 'heads', {}))
    able = [key for key, head in heads.items() if hasattr(head, 'context')]
    remedy = 'use the features of the backbone: `cfg.feature_head=None`'
    if name not in able:
        raise UserError(
            f'feature_head is {name!r}, but the heads of this config that gather a context are '
            f'{", ".join(able) or "none"}; name one of them, or {remedy}'
        )
    if branch == 'target':
        raise UserError(f'`branch=target`: feature_head {name!r} has no momentum copy; {remedy}')
    return heads[name]


class LayerOutput(nn.Module):
    """A backbone that returns the output of one of its layers, averaged over space and time.

    The layer returns vectors [M, D] or maps [M, D, (T,) H, W], or a sequence that ends with one of
    these. Tokens [M, tokens, D] of MMAction2's ``VisionTransformer``, which has no class token, are
    averaged too. Tokens of other transformers are refused, and so are maps with the channels at the
    end, as from all stages and blocks of a Video Swin. Such maps are recognised by the LayerNorm or
    Linear in the layer; without either, as in an activation, they are not. If a layer runs several
    times in a forward pass, its last output counts.

    Args:
        backbone (nn.Module): Any backbone.
        layer (str): Dotted name of a layer in it.

    Raises:
        UserError: If there is no such layer; in the forward pass, if it does not run or its output
            has another shape.
    """

    def __init__(self, backbone: nn.Module, layer: str) -> None:
        super().__init__()
        names = [name for name, _ in backbone.named_modules() if name]
        if layer not in names:
            near = get_close_matches(layer, names, n=5, cutoff=0) or ['none']
            raise UserError(
                f'`layer={layer}`: {type(backbone).__name__} has no such layer; similar names are '
                f'{", ".join(near)}'
            )
        self.backbone = backbone
        self.layer = layer
        self.num_segments = getattr(backbone, 'num_segments', 1)  # frames that TSM mixes
        backbone.get_submodule(layer).register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple, output: object) -> None:
        while isinstance(output, (tuple, list)):
            output = output[-1]
        if isinstance(self.backbone, VisionTransformer) and isinstance(output, Tensor):
            self._output = output.mean(dim=1) if output.ndim == 3 else output
            return
        # Average now, because the next layer may work in place.
        is_map = isinstance(output, Tensor) and output.ndim in (2, 4, 5)
        if is_map and output.ndim > 2:
            # These layers return channels at the end, until something moves the axis.
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
                f'`layer={self.layer}` gives neither vectors [M, D] nor maps [M, D, (T,) H, W] '
                f'of M={len(inputs)} frames or clips in the forward pass (tokens and maps with the '
                'channels at the end are not supported); choose another layer, or the output of '
                'the backbone'
            )
        return self._output


def _parts(module: nn.Module, kind: type) -> list:
    return [part for part in module.modules() if isinstance(part, kind)]


def check_amp(model: nn.Module, amp: str | None) -> None:
    """Check that the device can compute in ``amp`` of :func:`encode_clips`.

    Raises:
        UserError: If it cannot, or ``amp`` is not one of `AMP_DTYPES`.
    """
    if amp not in (None, *AMP_DTYPES):
        raise UserError(f'amp is {amp!r}; use {" or ".join(AMP_DTYPES)}, or None for float32')
    if amp == 'float16' and get_device() == 'cpu':
        raise UserError('amp is float16, which a CPU does not support; use bfloat16')
    if amp == 'bfloat16' and get_device() == 'cuda' and not torch.cuda.is_bf16_supported():
        raise UserError('amp is bfloat16, which this GPU does not support; use float16')
    if amp is not None:
        avoid_amx(model.parameters())


def autocast(inputs: Tensor, amp: str | None) -> torch.autocast:
    """Context to encode ``inputs`` in ``amp`` of :func:`encode_clips`."""
    dtype = None if amp is None else getattr(torch, amp)
    return torch.autocast(inputs.device.type, dtype, enabled=amp is not None)


def preprocess(model: nn.Module, batch: dict) -> Tensor:
    """Move a batch to the device and normalise it, without waiting for the device."""
    preprocessor = model.data_preprocessor
    inputs = [clips.to(preprocessor.device, non_blocking=True) for clips in batch['inputs']]
    batch = dict(inputs=inputs, data_samples=batch['data_samples'])
    return preprocessor(batch, training=False)['inputs']


def to_host(features: Tensor) -> Callable[[], np.ndarray]:
    """Start to copy features from the device. The returned function waits for the copy.

    It does not wait for later work of the device.
    """
    copy = features.to('cpu', non_blocking=features.is_cuda)
    if not features.is_cuda:
        return copy.numpy
    copied = torch.cuda.Event()
    copied.record()

    def wait() -> np.ndarray:
        copied.synchronize()
        return copy.numpy()

    return wait


# Not inference mode: a model that continues training could not use tensors that it keeps from here.
@torch.no_grad()
def encode_clips(
    model: nn.Module,
    batch: dict,
    per_clip: bool = False,
    l2: bool = False,
    amp: str | None = None,
) -> Tensor:
    """Encode the frames or clips of n videos.

    Args:
        model: Has a ``data_preprocessor`` and a ``backbone`` in eval mode, and may have a
            ``feature_head``, which makes one feature of all clips: M = 1.
        batch: ``inputs`` and ``data_samples`` of the videos, for the preprocessor.
        per_clip: Whether to keep the M features of a video; otherwise they are averaged to M = 1.
        l2: Whether to divide each row by its norm; rows of zeros do not change.
        amp: One of `AMP_DTYPES`, used by backbone and head where autocast considers it safe;
            ``None`` for float32. See :func:`check_amp`.

    Returns:
        float32 [n, M, D], on the device, which may still be computing it.
    """
    inputs, format_shape = preprocess(model, batch), model.data_preprocessor.format_shape
    with autocast(inputs, amp):
        if (head := getattr(model, 'feature_head', None)) is None:
            features = encode(model.backbone, inputs, format_shape)
        else:
            maps = encode_maps(model.backbone, inputs, format_shape)
            features = head.context(maps.unsqueeze(3) if maps.ndim == 5 else maps).unsqueeze(1)
    features = features.float()
    if not per_clip:
        features = features.mean(dim=1, keepdim=True)
    return normalize(features, dim=-1) if l2 else features
