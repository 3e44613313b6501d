"""Convert weights between the key layouts of other projects and ours, by name.

MMAction2, and so this package, calls the parts of a ResNet ``layer1.0.conv1.conv.weight``,
``layer1.0.conv1.bn.bias`` and ``layer1.0.downsample.conv.weight``. The other layouts:

=========== ========================================== ===================================== ======
layout      a name                                     becomes                               back
=========== ========================================== ===================================== ======
torchvision ``layer1.0.bn1.bias``; ``fc`` classifies   ``backbone``                          yes
mocov2      ``module.encoder_q.layer1.0.bn1.bias``     ``backbone``; its MLP every head      yes
slowfast    ``s2.pathway0_res0.branch2.a_bn.bias``     ``backbone``: a ``ResNet3dSlowOnly``, yes
                                                       or a ``ResNet3dSlowFast``
vclr        ``fc_inter.0.weight`` (the authors' code)  ``backbone`` and each head its own    no
=========== ========================================== ===================================== ======

``videomae`` and ``huggingface``, both for vision transformers, are in :mod:`.vit`.

SlowFast (https://github.com/facebookresearch/SlowFast) saves its self-supervised models, the ρ
family, under ``backbone.``. Like ours, its Slow networks have the stride in the 3×3 convolution
(``RESNET.STRIDE_1X1`` is false). For its two pathways, set ``lateral_norm=True`` and
``fusion_kernel`` (7 for 8×8 models, 5 for 4×16) of ``ResNet3dSlowFast.slow_pathway``.

Its networks were trained on frames of mean 0.45 and standard deviation 0.225 (``DATA.MEAN``,
``DATA.STD``, pixels in [0, 1]), but MMAction2's configs and ours have ImageNet's values. So a run
that starts from one of them needs :data:`SLOWFAST_PIXELS`.
"""

import re
import warnings
from collections.abc import Callable, Iterable
from functools import cache

import torch
from mmaction.models import ResNet, ResNet3dSlowFast
from torch import Tensor

from mmssl_video.errors import UserError

from .fitting import is_needed, tensors_of
from .vit import RENAMED, detect_vit, vit_to_ours, vit_to_theirs

MLP = ('0.weight', '0.bias', '2.weight', '2.bias')
VCLR_HEADS = {'fc_inter': 'inter', 'fc_intra': 'intra', 'fc_tsn': 'video', 'fc_order': 'order'}
SLOWFAST_PIXELS = (
    '--cfg-options model.data_preprocessor.mean="[114.75,114.75,114.75]" '
    'model.data_preprocessor.std="[57.375,57.375,57.375]"'
)
"""Options for a run that starts from SlowFast's weights: 0.45 · 255 and 0.225 · 255."""

# By format, the keys of a checkpoint that are not converted: classifiers, target networks, queues.
NOT_NEEDED = {
    'torchvision': r'fc\.(weight|bias)',
    'mocov2': r'encoder_k\..*|queue(_ptr)?',
    'vclr': r'fc\.(weight|bias)',
    'slowfast': (
        r'((backbone\.)?head|backbone_hist|knn_mem|memory|swav_prototypes)\..*'
        r'|queue_(x|swav)|ptr|iter'
    ),
}


def detect_format(state: dict[str, Tensor]) -> str:
    """Detect the format of a state dict.

    Args:
        state: Keys without the ``module.`` of data parallelism.

    Raises:
        UserError: If the format is not known.
    """
    if any(key.startswith('encoder_q.') for key in state):
        return 'mocov2'
    if any(re.match(r'(backbone\.)?s1\.pathway0_stem\.', key) for key in state):
        return 'slowfast'
    if not state.keys().isdisjoint(_their_names('torchvision', two_pathways=False)):
        return 'vclr' if any(key.split('.')[0] in VCLR_HEADS for key in state) else 'torchvision'
    if layout := detect_vit(state):
        return layout
    raise UserError(
        'has neither a ResNet of torchvision, MoCo v2, VCLR or SlowFast nor a VideoMAE (looked for '
        'names such as conv1.weight and s1.pathway0_stem.conv.weight, found '
        f'{", ".join(list(state)[:3])}, …)'
    )


def convert_weights(
    checkpoint: dict,
    heads: Iterable[str] = ('inter', 'intra', 'video', 'order'),
    allow_missing: bool = False,
    allow_unknown: bool = False,
) -> dict[str, Tensor]:
    """Convert a checkpoint of another project to the keys of :class:`SSLRecognizer`.

    The target network needs no keys: it starts from the weights of the online network.

    The names in the file determine the depth: that of the smallest ResNet that has them all. All
    other names of this ResNet count as missing, except ``num_batches_tracked``, which old files
    lack and no result depends on.

    Args:
        checkpoint: A state dict, or one under ``state_dict`` (MoCo), ``model`` (VCLR, VideoMAE),
            ``model_state`` (SlowFast) or ``module`` (DeepSpeed).
        heads: Names of the heads that a MoCo v2 MLP initialises; all have its shape
            (VCLR, App. A.1).
        allow_missing: Whether to warn about missing keys instead of raising.
        allow_unknown: Whether to warn about unknown keys and leave them out instead of raising.

    Returns:
        Tensors under ``backbone.…`` and ``heads.<name>.projector.…``; for a fine-tuned VideoMAE
        under ``backbone.…`` and ``cls_head.fc_cls.…``.

    Raises:
        UserError: If the format or a key is unknown, or a key is missing.
    """
    state = tensors_of(checkpoint)
    source = detect_format(state)
    what = f'of this {source} checkpoint are'
    if source in RENAMED:
        converted, unknown, missing = vit_to_ours(state, source)
        _report(what, unknown, missing, allow_unknown, allow_missing)
        return converted
    layout = 'slowfast' if source == 'slowfast' else 'torchvision'
    of_backbone = _their_names(layout, any('.pathway1_' in key for key in state))
    of_heads: dict[str, list[str]] = {}
    if source == 'mocov2':
        of_heads = {
            f'fc.{key}': [f'{name}.projector.layers.{key}' for name in heads] for key in MLP
        }
    if source == 'vclr':
        for module, name in VCLR_HEADS.items():
            of_heads |= {f'{module}.{key}': [f'{name}.projector.layers.{key}'] for key in MLP}
        for key in ('weight', 'bias'):
            of_heads[f'fc_order_classifier.{key}'] = [f'order.classifier.{key}']

    prefix = {'mocov2': 'encoder_q.', 'slowfast': 'backbone.'}.get(source, '')
    if not any(key.startswith(prefix) for key in state):
        prefix = ''  # a supervised network of SlowFast
    converted: dict[str, Tensor] = {}
    found, unknown = set(), []
    for full_key, value in state.items():
        key = full_key.removeprefix(prefix)
        if full_key.startswith(prefix) and key in of_backbone:
            converted[f'backbone.{of_backbone[key]}'] = value
            found.add(key)
        elif full_key.startswith(prefix) and key in of_heads:
            converted.update({f'heads.{name}': value for name in of_heads[key]})
            found.add(key)
        elif not re.fullmatch(NOT_NEEDED[source], full_key):
            unknown.append(full_key)

    wanted = {
        NAMES[layout](key)
        for key in _complete({of_backbone[key] for key in found & of_backbone.keys()})
    }
    # Every head in the file needs all its layers; VCLR's ablations have only some of the heads.
    modules = {key.split('.')[0] for key in found & of_heads.keys()}
    wanted |= {key for key in of_heads if key.split('.')[0] in modules}
    missing = [f'{prefix}{key}' for key in sorted(wanted - found) if is_needed(key)]
    _report(what, unknown, missing, allow_unknown, allow_missing)
    return converted


def to_layout(
    backbone: dict[str, Tensor],
    layout: str,
    allow_missing: bool = False,
    allow_unknown: bool = False,
    classifier: dict[str, Tensor] | None = None,
) -> dict:
    """Rename a backbone of ours for another project; :func:`convert_weights` does the reverse.

    Args:
        backbone: As from :func:`select_backbone`.
        layout: ``'torchvision'`` or ``'mocov2'`` for a 2D ResNet, ``'slowfast'`` for a 3D one;
            ``'videomae'`` or ``'huggingface'`` for a ``VisionTransformer``.
        allow_missing: Whether to warn about missing keys instead of raising.
        allow_unknown: Whether to warn about unknown keys and leave them out instead of raising.
        classifier: ``weight`` and ``bias`` of ``cls_head.fc_cls``, for a fine-tuned
            ``VisionTransformer``.

    Returns:
        A checkpoint that the project's code can load: torchvision's and Hugging Face's are state
        dicts, MoCo's is under ``state_dict``, SlowFast's under ``model_state``, VideoMAE's under
        ``model``.

    Raises:
        UserError: If the layout is for another kind of backbone, or a key is unknown or missing.
    """
    what = 'of this backbone are'
    if layout in RENAMED:
        if 'patch_embed.projection.weight' not in backbone:
            raise UserError(
                f'{layout} has names for vision transformers only, and this backbone has '
                f"{next(iter(backbone))}; choose another layout, MMAction2's fits every backbone"
            )
        state, unknown, missing = vit_to_theirs(backbone, classifier or {}, layout)
        _report(what, unknown, missing, allow_unknown, allow_missing)
        return {'model': state} if layout == 'videomae' else state
    kernels = {key: value.ndim - 2 for key, value in backbone.items() if value.ndim > 2}
    dimensions = 3 if layout == 'slowfast' else 2
    odd = [key for key, value in kernels.items() if value != dimensions]
    two_pathways = any(key.startswith('fast_path.') for key in backbone)
    theirs = {ours: key for key, ours in _their_names(layout, two_pathways).items()}
    known = backbone.keys() & theirs.keys()
    if odd or not known:
        raise UserError(
            f'{layout} has names for {dimensions}D ResNets only, and this backbone has '
            f"{(odd or list(backbone))[0]}; choose another layout, MMAction2's fits every backbone"
        )
    unknown = [key for key in backbone if key not in theirs]
    missing = [key for key in sorted(_complete(known) - known) if is_needed(key)]
    _report(what, unknown, missing, allow_unknown, allow_missing)
    state = {theirs[key]: value for key, value in backbone.items() if key in known}
    if layout == 'mocov2':
        return {'state_dict': {f'module.encoder_q.{key}': value for key, value in state.items()}}
    return {'model_state': state} if layout == 'slowfast' else state


def _torchvision_name(key: str) -> str:
    key = re.sub(r'conv(\d)\.(conv|bn)', r'\2\1', key)
    return key.replace('downsample.conv', 'downsample.0').replace('downsample.bn', 'downsample.1')


def _slowfast_name(key: str) -> str:
    pathway = int(key.startswith('fast_path.'))
    module, rest = key.removeprefix('slow_path.').removeprefix('fast_path.').split('.', 1)
    stage = int(module[5]) + 1 if module.startswith('layer') else 1
    if module.endswith('_lateral'):
        return f's{stage}_fuse.{rest.replace("conv.", "conv_f2s.")}'
    if stage == 1:
        return f's1.pathway{pathway}_stem.{rest}'
    block, part, kind, name = rest.split('.')
    part = 'branch1' if part == 'downsample' else f'branch2.{"_abc"[int(part[4])]}'
    return f's{stage}.pathway{pathway}_res{block}.{part}{"_bn" if kind == "bn" else ""}.{name}'


# By layout, the function that turns a name of ours into one of theirs.
NAMES: dict[str, Callable[[str], str]] = {
    'torchvision': _torchvision_name,
    'mocov2': _torchvision_name,
    'slowfast': _slowfast_name,
}
LAYOUTS = (*NAMES, *RENAMED)
"""The layouts that :func:`to_layout` writes."""


@cache
def _our_names(depth: int, two_pathways: bool) -> frozenset[str]:
    """All our names for a ResNet, 2D or 3D, or for a SlowFast network with two pathways."""
    with torch.device('meta'):
        if not two_pathways:
            return frozenset(ResNet(depth).state_dict())
        pathway = dict(type='resnet3d', depth=depth, pretrained=None)
        network = ResNet3dSlowFast(
            slow_pathway=dict(pathway, lateral=True, lateral_norm=True),
            fast_pathway=dict(pathway, lateral=False, base_channels=8),
        )
        return frozenset(network.state_dict())


@cache
def _their_names(layout: str, two_pathways: bool) -> dict[str, str]:
    """Map their names to ours for all depths: the deepest network has the names of all others."""
    return {NAMES[layout](key): key for key in _our_names(152, two_pathways)}


def _complete(found: set[str]) -> frozenset[str]:
    """All our names of the smallest network that has the names found."""
    # With two pathways, the fast one shows the depth; lateral connections change the slow one.
    plain = {key.removeprefix('fast_path.') for key in found if not key.startswith('slow_path.')}
    depth = next(depth for depth in ResNet.arch_settings if plain <= _our_names(depth, False))
    return _our_names(depth, any(key.startswith('fast_path.') for key in found))


def _report(
    what: str, unknown: list[str], missing: list[str], allow_unknown: bool, allow_missing: bool
) -> None:
    """Raise an error if there are such keys, or warn if they are allowed."""
    for keys, kind, allowed in (
        (unknown, 'unknown', allow_unknown),
        (missing, 'missing', allow_missing),
    ):
        if keys and allowed:
            warnings.warn(f'{len(keys)} keys {what} {kind}: {", ".join(keys)}', stacklevel=3)
        elif keys:
            more = ', …' if len(keys) > 5 else ''
            raise UserError(
                f'{len(keys)} keys {what} {kind}: {", ".join(keys[:5])}{more}; use the complete '
                f'checkpoint of the network, or `allow_{kind}=True` to convert the rest'
            )
