"""Weights of other projects in the key layout of ours, mapped by name.

Every ResNet below has torchvision's names inside (``layer1.0.conv1.weight``, ``layer1.0.bn1.bias``,
``layer1.0.downsample.0.weight``); MMAction2 calls these ``layer1.0.conv1.conv.weight``,
``layer1.0.conv1.bn.bias`` and ``layer1.0.downsample.conv.weight``.

=========== =============================================== ==================================
format      told by                                         becomes
=========== =============================================== ==================================
torchvision ``conv1.weight``; ``fc`` is the classifier      ``backbone``
mocov2      ``module.encoder_q.conv1.weight``               ``backbone``; its MLP every head
vclr        ``fc_inter.0.weight`` (the authors' release)    ``backbone`` and each head its own
=========== =============================================== ==================================
"""

import re
from collections.abc import Iterable

from torch import Tensor

from mmssl_video.errors import UserError

VCLR_HEADS = {'fc_inter': 'inter', 'fc_intra': 'intra', 'fc_tsn': 'video', 'fc_order': 'order'}
# What a checkpoint holds beside the network that is trained: MoCo's target network and queue, and
# torchvision's classifier.
NOT_NEEDED = re.compile(r'encoder_k\..*|queue(_ptr)?|fc\.(weight|bias)')


def detect_format(state: dict[str, Tensor]) -> str:
    """Tell whose weights these are.

    Args:
        state: Keys without the ``module.`` of data parallelism.

    Raises:
        UserError: If it is none of the known formats.
    """
    if 'encoder_q.conv1.weight' in state:
        return 'mocov2'
    if 'conv1.weight' in state:
        return 'vclr' if 'fc_inter.0.weight' in state else 'torchvision'
    raise UserError(
        'no ResNet of torchvision, MoCo v2 or VCLR is in it (looked for conv1.weight and '
        f'encoder_q.conv1.weight, found {", ".join(list(state)[:3])}, …)'
    )


def rename_resnet_key(key: str) -> str | None:
    """Turn torchvision's name of a ResNet parameter into MMAction2's; ``None`` if it is none."""
    if match := re.fullmatch(r'(layer\d+\.\d+\.)?(conv|bn)(\d)\.(\w+)', key):
        block, kind, number, name = match.groups(default='')
        return f'{block}conv{number}.{kind}.{name}'
    if match := re.fullmatch(r'(layer\d+\.\d+)\.downsample\.([01])\.(\w+)', key):
        block, index, name = match.groups()
        return f'{block}.downsample.{("conv", "bn")[int(index)]}.{name}'
    return None


def convert_weights(
    checkpoint: dict, heads: Iterable[str] = ('inter', 'intra', 'video', 'order')
) -> dict[str, Tensor]:
    """Convert a checkpoint to the keys of :class:`SSLRecognizer`.

    The target network needs no keys: it starts from what the online network is given.

    Args:
        checkpoint: A state dict, or one under ``state_dict`` (MoCo) or ``model`` (VCLR).
        heads: Names of the heads that a MoCo v2 MLP initialises; all have its shape
            (VCLR, App. A.1).

    Returns:
        Tensors under ``backbone.…`` and ``heads.<name>.projector.…``.

    Raises:
        UserError: If the format or a key is unknown.
    """
    state = checkpoint.get('state_dict', checkpoint.get('model', checkpoint))
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    source = detect_format(state)
    converted, unknown = {}, []
    for full_key, value in state.items():
        key = full_key.removeprefix('encoder_q.')
        renamed = rename_resnet_key(key)
        module, _, rest = key.partition('.')
        if renamed is not None:
            converted[f'backbone.{renamed}'] = value
        elif source == 'mocov2' and re.fullmatch(r'fc\.[02]\.(weight|bias)', key):
            for head in heads:
                converted[f'heads.{head}.projector.layers.{rest}'] = value
        elif source == 'vclr' and module in VCLR_HEADS:
            converted[f'heads.{VCLR_HEADS[module]}.projector.layers.{rest}'] = value
        elif source == 'vclr' and module == 'fc_order_classifier':
            converted[f'heads.order.classifier.{rest}'] = value
        elif not NOT_NEEDED.fullmatch(key):
            unknown.append(full_key)
    if unknown:
        raise UserError(
            f'{len(unknown)} keys of this {source} checkpoint are unknown: '
            f'{", ".join(unknown[:5])}; remove them from the file if they are not needed'
        )
    return converted
