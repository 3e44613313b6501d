"""Load the complete pretrained backbone in training, and the complete model in a test, or stop."""

from pathlib import Path

from mmaction.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import Tensor, nn

from mmssl_video.checkpoints.fitting import fit_tensors, is_needed, own_names, tensors_of
from mmssl_video.checkpoints.loading import load_checkpoint_file
from mmssl_video.errors import UserError

from .unwrap import unwrapped_model

REMEDIES = {
    'backbone': (
        'use the config of the network that was pretrained, or convert the file with '
        'tools/convert_weights.py'
    ),
    'cls_head': "remove load_head from the config's BackboneLoadHook to start a new one",
}


@HOOKS.register_module()
class BackboneLoadHook(Hook):
    """Check that training starts from the whole backbone in ``load_from``, a test from the model.

    MMEngine loads tensors with the same name and shape and ignores the rest. Here, a single tensor
    that is missing, has another shape or is unknown ends the run. Only ``num_batches_tracked`` of
    batch normalisation, which no result depends on, may be missing.

    In training, tensors that do not belong to the backbone (heads, target network, queues, another
    data set's classifier) are left out. In a test, the classifier must fit too, and names must be
    those of the model.

    The checkpoint has tensors ``backbone.…``: it is from our pretraining, ``export_backbone.py``,
    or an MMAction2 recognizer. MMAction2's TSM adds ``net`` to the names of the layers that it
    wraps (``layer1.0.conv1.conv.net.weight``). Names are compared without it, so weights of plain
    networks can be loaded into TSM and vice versa. For a ``VisionTransformer``, the fixed positions
    are computed, and ``fc_norm`` keeps its initial values if the checkpoint is from pretraining;
    the log names both.

    The hook does not check a checkpoint that is resumed, or loaded after training has begun.

    Args:
        load_head (bool): Whether to load the classifier (``cls_head.…``) too, which must then fit:
            to continue from a recognizer with the same classes.

    Raises:
        UserError: If the checkpoint does not fit (names the first tensors), or the config's own
            ``pretrained`` names a file that only ``load_from`` can read.
    """

    priority = 'HIGH'  # before hooks that read the checkpoint

    def __init__(self, load_head: bool = False) -> None:
        self.modules = list(REMEDIES) if load_head else ['backbone']
        self.has_loaded = self.has_begun = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check and rename the tensors, and drop the others, before they are loaded."""
        self.has_loaded = True
        if runner._resume or self.has_begun:
            return
        if not isinstance(runner._train_loop, BaseLoop):  # only `Runner.train` has built it by now
            check_model(checkpoint, unwrapped_model(runner), runner._load_from)
            return
        kept: dict[str, Tensor] = {}
        for name in self.modules:
            module = getattr(unwrapped_model(runner), name)
            fitted = fit_tensors(checkpoint, module, f'{name}.', runner._load_from, REMEDIES[name])
            kept |= {f'{name}.{key}': value for key, value in fitted.items()}
            own = own_names(fitted, module)
            number = sum(map(is_needed, fitted.keys() - set(own)))
            as_built = f'; as the config builds them: {", ".join(own)}' if own else ''
            runner.logger.info(
                f'{name}: {number} of {number} tensors from {runner._load_from} (weights, biases '
                f'and running statistics){as_built}'
            )
        checkpoint['state_dict'] = kept

    def before_train(self, runner: Runner) -> None:
        """Warn if nothing was loaded; raise if only ``load_from`` could have loaded the file."""
        self.has_begun = True
        if self.has_loaded:
            return
        backbone = unwrapped_model(runner).backbone
        # Backbones with their own initialisation, such as ResNet3d, do not read init_cfg. MMEngine
        # has not marked them as initialised.
        init_cfg = backbone.init_cfg if getattr(backbone, 'is_init', False) else None
        sources = [
            each
            for each in ([init_cfg] if isinstance(init_cfg, dict) else init_cfg or [])
            if each['type'] == 'Pretrained'
        ]
        if getattr(backbone, 'pretrained', None):
            sources.append(dict(checkpoint=backbone.pretrained))
        if not sources:
            runner.logger.warning(
                'backbone: starts from random weights; to start from pretrained ones, set '
                'load_from to their checkpoint'
            )
        for source in sources:
            # MMAction2 looks for names without a prefix there, and continues if it finds none.
            path = Path(source['checkpoint']).expanduser()
            if source.get('prefix') or not path.is_file():
                continue
            names = tensors_of(load_checkpoint_file(path))
            if any(name.startswith('backbone.') for name in names):
                raise UserError(
                    f'{path}: its tensors are named backbone.…, which pretrained and init_cfg '
                    f'of model.backbone do not read; use load_from={path}'
                )


def check_model(checkpoint: dict, model: nn.Module, path: str) -> None:
    """Raise a UserError unless a checkpoint has all tensors of a model, under their names."""
    given, wanted = tensors_of(checkpoint), model.state_dict()
    if not any(key.startswith('cls_head.') for key in given) and hasattr(model, 'cls_head'):
        raise UserError(
            f'{path}: has no classifier (cls_head.…); fine-tune a checkpoint of pretraining first, '
            f'with tools/train.py and `cfg.load_from={path}`'
        )
    # Constants, such as fixed positions, are computed, and not in all of MMAction2's files.
    constants = {name for name, _ in model.named_buffers() if '.running_' not in name}
    faults = [f'{key} is missing' for key in wanted if key not in given and key not in constants]
    faults += [
        f'{key} is {list(given[key].shape)} instead of {list(value.shape)}'
        for key, value in wanted.items()
        if key in given and given[key].shape != value.shape
    ]
    faults += [
        f'{key} is unknown'
        for key in given
        if key.startswith('backbone.') and key not in wanted and is_needed(key)
    ]
    if faults:
        more = f' and {len(faults) - 2} more' if len(faults) > 2 else ''
        raise UserError(
            f'{path}: does not fit the model of the config: {", ".join(faults[:2])}{more}; use the '
            'config and the --cfg-options that it was trained with'
        )
    checkpoint['state_dict'] = given  # what has been checked, from wherever in the file
