"""Fit the tensors of a checkpoint to a module by name and shape."""

import re

from mmaction.models import VisionTransformer
from torch import Tensor, nn

from mmssl_video.errors import UserError

from .vit import adapt_vit, explain_vit

# The backbones that a checkpoint of ours holds.
BRANCHES = {'online': 'backbone.', 'target': 'target_backbone.module.'}


def plain_name(key: str) -> str:
    """Remove from a name in a backbone the ``net`` that MMAction2's TSM and its pooling insert.

    They wrap a stage (``layer2.net.0``), a block (``layer1.0.net``) or a block's convolution
    (``layer1.0.conv1.conv.net``). Any other ``net`` is a part of the name.
    """
    if not re.match(r'(layer|stage)\d\.', key):
        return key
    return re.sub(r'\b((?:layer|stage)\d|\d+|conv)\.net(?=\.)', r'\1', key)


def is_needed(key: str) -> bool:
    """Whether a tensor must be in a file: all but the counters of batch normalisation."""
    return not key.endswith('.num_batches_tracked')


def tensors_of(checkpoint: dict) -> dict[str, Tensor]:
    """The tensors of a checkpoint, without the ``module.`` of data parallelism."""
    containers = ('state_dict', 'model', 'model_state', 'module')  # the last is DeepSpeed's
    state = next((checkpoint[key] for key in containers if key in checkpoint), checkpoint)
    return {
        key.removeprefix('module.'): value
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def select_backbone(checkpoint: dict, branch: str = 'online') -> dict[str, Tensor]:
    """Take the backbone out of a checkpoint of ours or of an MMAction2 recognizer.

    Args:
        checkpoint: As MMEngine's Runner writes it, or a state dict.
        branch: ``'online'`` or ``'target'``, the momentum copy.

    Returns:
        Its tensors, named as in the backbone itself; TSM's are named as without the shift.

    Raises:
        UserError: If there is no such branch.
    """
    remedy = 'use another branch, or a checkpoint of tools/train.py'
    return _select(tensors_of(checkpoint), BRANCHES[branch], remedy)


def fit_tensors(
    checkpoint: dict, module: nn.Module, prefix: str, path: str, remedy: str
) -> dict[str, Tensor]:
    """Take the tensors of one module from a checkpoint and name them as in the module.

    Names are compared by their :func:`plain_name`, so weights fit from plain networks into TSM and
    back. For a ``VisionTransformer``, :func:`adapt_vit` adds tensors that need not be in the file.

    Args:
        checkpoint: As MMEngine's Runner writes it, or a state dict.
        module: The module that the tensors are for.
        prefix: Prefix of its names in the checkpoint, ``'backbone.'``.
        path: The checkpoint's file, for messages.
        remedy: What to do if it does not fit, for messages.

    Returns:
        All tensors of the module's state dict. Counters of batch normalisation, which no result
        depends on, are only there if the checkpoint has them.

    Raises:
        UserError: If a tensor is missing, has another shape, or has no place in the module.
    """
    try:
        given = _select(tensors_of(checkpoint), prefix, remedy)
    except UserError as error:
        raise UserError(f'{path}: {error}') from None
    wanted, fields = module.state_dict(), ''
    if isinstance(module, VisionTransformer):
        given = adapt_vit(given, module)
        fields = explain_vit(given, module)
    plain = {key: plain_name(key) for key in wanted}
    fitted = {key: given[plain[key]] for key in wanted if plain[key] in given}
    missing = [key for key in wanted if key not in fitted and is_needed(key)]
    misshapen = [
        f'{key} {list(value.shape)} instead of {list(wanted[key].shape)}'
        for key, value in fitted.items()
        if value.shape != wanted[key].shape
    ]
    unknown = sorted(given.keys() - plain.values())
    problems = [
        f'{len(keys)} {what} ({prefix}{f", {prefix}".join(keys[:2])}'
        f'{", …" if len(keys) > 2 else ""})'
        for what, keys in (
            ('missing', missing),
            ('of another shape', misshapen),
            ('unknown', unknown),
        )
        if keys
    ]
    if problems:
        raise UserError(
            f'{path}: its {prefix[:-1]} does not fit the {type(module).__name__} of the config; '
            f'tensors: {"; ".join(problems)}{fields}; {remedy}'
        )
    return fitted


def own_names(fitted: dict[str, Tensor], module: nn.Module) -> list[str]:
    """Names of the tensors of :func:`fit_tensors` that are the module's own, not the file's."""
    own = module.state_dict()
    return sorted(key for key in fitted if fitted[key].data_ptr() == own[key].data_ptr())


def _select(state: dict[str, Tensor], prefix: str, remedy: str) -> dict[str, Tensor]:
    """Select the tensors under a prefix, by their plain names without the prefix."""
    selected = {
        plain_name(key.removeprefix(prefix)): value
        for key, value in state.items()
        if key.startswith(prefix)
    }
    if not selected:
        names = sorted({key.split('.')[0] for key in state})
        found = ', '.join(names[:5] + ['…'] * (len(names) > 5)) or 'nothing'
        raise UserError(f'has no {prefix}… (found {found}); {remedy}')
    return selected
