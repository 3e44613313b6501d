"""The pretrained backbone of a downstream run: all of it, or none."""

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
        'take the config for the network that was pretrained, or convert the file with '
        'tools/convert_weights.py'
    ),
    'cls_head': "take load_head out of the config's BackboneLoadHook to start a new one",
}


@HOOKS.register_module()
class BackboneLoadHook(Hook):
    """See to it that training starts from every tensor of the backbone in ``load_from``.

    MMEngine loads what has the same name and shape and goes on without the rest. Here one tensor
    that is missing, misshapen or unknown ends the run; ``num_batches_tracked`` of batch
    normalisation, which no result depends on, may be missing. What does not belong to the backbone
    (heads, target network, queues, another data set's classifier) is left out.

    The checkpoint has ``backbone.…``: one of our pretraining or of ``export_backbone.py``, or of an
    MMAction2 recognizer. MMAction2's TSM puts ``net`` into the names of what it wraps
    (``layer1.0.conv1.conv.net.weight``); names are compared without it, so weights go from plain
    networks into TSM and back. Of a ``VisionTransformer`` the fixed positions are computed, and
    ``fc_norm`` starts anew where the checkpoint is of pretraining; the log names both.

    A checkpoint that is resumed from, validated, tested or loaded once training has begun is left
    as it is.

    Args:
        load_head (bool): Whether the classifier (``cls_head.…``) is taken too and has to fit: to
            go on from a recognizer of the same classes.

    Raises:
        UserError: If the checkpoint does not fit; names the first tensors. If the config's own
            ``pretrained`` names a file that only ``load_from`` can read.
    """

    priority = 'HIGH'  # before hooks that read the checkpoint

    def __init__(self, load_head: bool = False) -> None:
        self.modules = list(REMEDIES) if load_head else ['backbone']
        self.has_loaded = self.has_begun = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the tensors, rename them and drop the others, before they go into the model."""
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
        """Warn if nothing has been loaded, or raise if only ``load_from`` would have."""
        self.has_begun = True
        if self.has_loaded:
            return
        backbone = unwrapped_model(runner).backbone
        # Backbones with an initialisation of their own, ResNet3d for one, do not read init_cfg:
        # MMEngine has not set that they are initialised.
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
            # MMAction2 looks for names without a prefix there, and goes on if it finds none.
            path = Path(source['checkpoint']).expanduser()
            if source.get('prefix') or not path.is_file():
                continue
            names = tensors_of(load_checkpoint_file(path))
            if any(name.startswith('backbone.') for name in names):
                raise UserError(
                    f'{path}: its tensors are named backbone.…, where the pretrained or init_cfg '
                    f'of model.backbone does not look; use load_from={path}'
                )
