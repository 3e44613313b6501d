"""Weights of VideoMAE's vision transformers: names in other projects, and optional tensors.

MMAction2, and so this package, calls the parts of its ``VisionTransformer``
``patch_embed.projection``, ``blocks.0.attn.qkv`` and ``blocks.0.mlp.layers.0.0``. The other
layouts:

============= ============================================== =====================================
layout        pretrained                                     fine-tuned
============= ============================================== =====================================
videomae      ``encoder.blocks.0.mlp.fc1``, ``encoder.norm`` ``blocks.0.mlp.fc1``, ``fc_norm``,
                                                             ``head``
huggingface   ``videomae.encoder.layer.0.attention…``,       the same, ``fc_norm``, ``classifier``
              ``videomae.layernorm``
============= ============================================== =====================================

``videomae`` is the layout of the released files (https://github.com/MCG-NJU/VideoMAE), under
``model`` or DeepSpeed's ``module``. ``huggingface`` has query, key and value in three matrices, our
layout in one, ``qkv``. Neither has fixed positions, which the network computes; only ``videomae``
has learned ones, ``pos_embed``. Decoders are left out.
"""

import re
from functools import cache

import torch
from mmaction.models import VisionTransformer
from mmaction.models.backbones.vit_mae import get_sinusoid_encoding
from torch import Tensor

# By layout: the replacements in our names, in this order; the prefix of the network in a pretrained
# and in a fine-tuned file; the name of the classifier.
RENAMED = {
    'videomae': (
        ('patch_embed.projection', 'patch_embed.proj'),
        ('mlp.layers.0.0', 'mlp.fc1'),
        ('mlp.layers.1', 'mlp.fc2'),
    ),
    'huggingface': (
        ('patch_embed.projection', 'embeddings.patch_embeddings.projection'),
        ('blocks.', 'encoder.layer.'),
        ('norm1', 'layernorm_before'),
        ('norm2', 'layernorm_after'),
        ('attn.proj', 'attention.output.dense'),
        ('attn.', 'attention.attention.'),
        ('mlp.layers.0.0', 'intermediate.dense'),
        ('mlp.layers.1', 'output.dense'),
    ),
}
PREFIXES = {'videomae': ('encoder.', ''), 'huggingface': ('videomae.', 'videomae.')}
CLASSIFIERS = {'videomae': 'head', 'huggingface': 'classifier'}
# The decoder of pretraining and its positions.
NOT_NEEDED = r'(decoder|encoder_to_decoder)\..*|mask_token|(.*\.)?position_embeddings'


def detect_vit(state: dict[str, Tensor]) -> str | None:
    """Detect another project's layout of a vision transformer; ``None`` for other weights."""
    for layout, stem in (
        ('videomae', r'(encoder\.)?patch_embed\.proj\.weight'),
        ('huggingface', r'(videomae\.)?embeddings\.patch_embeddings\.projection\.weight'),
    ):
        if any(re.fullmatch(stem, key) for key in state):
            return layout
    return None


def vit_to_ours(
    state: dict[str, Tensor], layout: str
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Convert a vision transformer of another project.

    Args:
        state: Tensors of a pretrained or fine-tuned network.
        layout: ``'videomae'`` or ``'huggingface'``.

    Returns:
        Tensors under ``backbone.…`` and, for a fine-tuned network, ``cls_head.fc_cls.…``; unknown
        names in the file; names missing in the file.
    """
    of_classifier = {f'{CLASSIFIERS[layout]}.{kind}': kind for kind in ('weight', 'bias')}
    is_classified = not state.keys().isdisjoint(of_classifier)
    prefix = PREFIXES[layout]['fc_norm.weight' in state or is_classified]
    if not any(key.startswith(prefix) for key in state):
        prefix = ''  # a bare VideoMAEModel of Hugging Face, a bare encoder
    body = 'encoder.layer.' if layout == 'huggingface' else 'blocks.'
    blocks = re.compile(re.escape(prefix + body) + r'(\d+)\.')
    depth = 1 + max((int(found[1]) for key in state if (found := blocks.match(key))), default=0)
    converted, missing, used = {}, [], set()
    for ours in sorted(_names(depth, pooled='fc_norm.weight' in state)):
        theirs = _theirs(ours, layout, prefix)
        used.update(theirs)
        if absent := [key for key in theirs if key not in state]:
            missing += absent
        else:
            converted[f'backbone.{ours}'] = torch.cat([state[key] for key in theirs])
    positions = f'{prefix}pos_embed'
    if layout == 'videomae' and positions in state:
        used.add(positions)
        if not _is_fixed(state[positions]):
            converted['backbone.pos_embed'] = state[positions]
    for key, kind in of_classifier.items() if is_classified else ():
        used.add(key)
        if key in state:
            converted[f'cls_head.fc_cls.{kind}'] = state[key]
        else:
            missing.append(key)
    unknown = [key for key in state if key not in used and not re.fullmatch(NOT_NEEDED, key)]
    return converted, unknown, missing


def vit_to_theirs(
    backbone: dict[str, Tensor], classifier: dict[str, Tensor], layout: str
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Rename a vision transformer of ours for another project: the reverse of the above.

    Args:
        backbone: Named as in the backbone itself. One with ``fc_norm`` is fine-tuned.
        classifier: ``weight`` and ``bias`` of ``cls_head.fc_cls``, or nothing.
        layout: ``'videomae'`` or ``'huggingface'``.

    Returns:
        Tensors by their names; our names that are unknown; our names that are missing.
    """
    fine_tuned = 'fc_norm.weight' in backbone
    prefix = PREFIXES[layout][fine_tuned]
    blocks = (int(key.split('.')[1]) for key in backbone if key.startswith('blocks.'))
    names = _names(1 + max(blocks, default=0), fine_tuned)
    state = {}
    for ours in names & backbone.keys():
        theirs = _theirs(ours, layout, prefix)
        state |= zip(theirs, backbone[ours].chunk(len(theirs)), strict=True)
    if fine_tuned:
        state |= {f'{CLASSIFIERS[layout]}.{kind}': value for kind, value in classifier.items()}
    positions = backbone.get('pos_embed')
    is_learned = positions is not None and not _is_fixed(positions)
    if is_learned and layout == 'videomae':
        state[f'{prefix}pos_embed'] = positions
    known = names if is_learned and layout == 'huggingface' else names | {'pos_embed'}
    # A view would be saved with its whole tensor.
    state = {key: value.clone() for key, value in state.items()}
    return state, sorted(backbone.keys() - known), sorted(names - backbone.keys())


def adapt_vit(given: dict[str, Tensor], backbone: VisionTransformer) -> dict[str, Tensor]:
    """Fill in tensors of a vision transformer that need not come from the checkpoint.

    Fixed positions are always the config's: the sinusoid for its own number of tokens, even if the
    file has positions for other clips. If ``use_mean_pooling`` is set and the file is from
    pretraining, its ``norm`` is left out, and ``fc_norm`` keeps its initial values, as in
    VideoMAE's fine-tuning.

    Args:
        given: Tensors of the checkpoint, named as in the backbone itself.
        backbone: The network of the config.

    Returns:
        ``given`` with these changes. Learned positions do not change, and have to fit.
    """
    wanted = backbone.state_dict()
    adapted = dict(given)
    if 'pos_embed' in dict(backbone.named_buffers()):
        positions = given.get('pos_embed')
        if positions is None or _is_fixed(positions):
            adapted['pos_embed'] = wanted['pos_embed']
    if 'norm.weight' in given and 'fc_norm.weight' in wanted and 'fc_norm.weight' not in given:
        for kind in ('weight', 'bias'):
            adapted.pop(f'norm.{kind}', None)
            adapted[f'fc_norm.{kind}'] = wanted[f'fc_norm.{kind}']
    return adapted


def explain_vit(given: dict[str, Tensor], backbone: VisionTransformer) -> str:
    """Name the config fields that a checkpoint does not fit: ``' (…)'``, or an empty string."""
    wanted = backbone.state_dict()
    fields = []
    depths = [
        len({key.split('.')[1] for key in state if key.startswith('blocks.')})
        for state in (given, wanted)
    ]
    if depths[0] != depths[1]:
        fields.append(f'model.backbone.depth is {depths[1]}, the file has {depths[0]}')
    stem, own = given.get('patch_embed.projection.weight'), wanted['patch_embed.projection.weight']
    if stem is not None and stem.ndim == own.ndim:
        for field, axis in (('embed_dims', 0), ('tubelet_size', 2), ('patch_size', 3)):
            if stem.shape[axis] != own.shape[axis]:
                fields.append(
                    f'model.backbone.{field} is {own.shape[axis]}, the file has {stem.shape[axis]}'
                )
    positions = given.get('pos_embed')
    if not fields and positions is not None and positions.shape != wanted['pos_embed'].shape:
        fields.append(
            f'the learned positions are for {positions.shape[1]} tokens, but the '
            f"config's clips have {wanted['pos_embed'].shape[1]}; set model.backbone.num_frames "
            'and img_size to those of the file'
        )
    return f' ({"; ".join(fields)})' if fields else ''


def _is_fixed(positions: Tensor) -> bool:
    table = get_sinusoid_encoding(positions.shape[1], positions.shape[2]).to(positions)
    return torch.allclose(positions, table, atol=1e-2 if positions.dtype.itemsize < 4 else 1e-5)


def _theirs(ours: str, layout: str, prefix: str) -> list[str]:
    """Names of their tensors that make up one tensor of ours."""
    if ours.startswith('fc_norm.'):
        return [ours]
    if layout == 'huggingface' and ours.startswith('norm.'):
        return [f'{prefix}layernorm.{ours.removeprefix("norm.")}']
    key = ours
    for old, new in RENAMED[layout]:
        key = key.replace(old, new)
    if layout == 'huggingface' and 'qkv' in key:
        return [prefix + key.replace('qkv', part) for part in ('query', 'key', 'value')]
    return [prefix + key]


@cache
def _names(depth: int, pooled: bool) -> frozenset[str]:
    """All names in a vision transformer except its positions."""
    # A small network: its constructor needs numbers, so it cannot be built on the meta device.
    network = VisionTransformer(
        img_size=16, num_frames=2, embed_dims=2, num_heads=1, depth=depth, use_mean_pooling=pooled
    )
    return frozenset(network.state_dict()) - {'pos_embed'}
