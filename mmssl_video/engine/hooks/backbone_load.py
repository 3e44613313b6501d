"""Load the complete pretrained backbone in a downstream run, or stop."""

from pathlib import Path

from mmaction.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

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
    """Check that training starts from every tensor of the backbone in ``load_from``.

    MMEngine loads tensors with the same name and shape and ignores the rest. Here, a single tensor
    that is missing, has another shape or is unknown ends the run. Only ``num_batches_tracked`` of
    batch normalisation, which no result depends on, may be missing. Tensors that do not belong to
    the backbone (heads, target network, queues, another data set's classifier) are left out.

    The checkpoint has tensors ``backbone.…``: it is from our pretraining, ``export_backbone.py``,
    or an MMAction2 recognizer. MMAction2's TSM adds ``net`` to the names of the layers that it
    wraps (``layer1.0.conv1.conv.net.weight``). Names are compared without it, so weights of plain
    networks can be loaded into TSM and vice versa. For a ``VisionTransformer``, the fixed positions
    are computed, and ``fc_norm`` keeps its initial values if the checkpoint is from pretraining;
    the log names both.

    The hook does not change a checkpoint that is resumed, validated, tested or loaded after
    training has begun.

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
        # Only `Runner.train` has built the loop by now.
        to_train = isinstance(runner._train_loop, BaseLoop) and not self.has_begun
        if runner._resume or not to_train:
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
