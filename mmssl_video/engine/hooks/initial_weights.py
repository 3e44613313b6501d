"""Start a new pretraining run from ``load_from``."""

from mmaction.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmssl_video.checkpoints.fitting import fit_tensors, is_needed, own_names, tensors_of
from mmssl_video.models.memory import EmbeddingQueue

from .unwrap import unwrapped_model

REMEDY = (
    'use the config of the network in the file, or convert the file with tools/convert_weights.py'
)


@HOOKS.register_module()
class InitialWeightsHook(Hook):
    """Load a complete backbone at the start of pretraining, or stop.

    MMEngine loads tensors with the same name and shape and ignores the rest. Here, with
    ``load_from``:

    - every tensor of the backbone must exist and fit, or the run ends;
    - a head is loaded if it fits completely, and otherwise keeps its initial weights; the same
      holds for the target network, which otherwise starts as a copy of the online one;
    - queues start empty, because keys of another run are no valid negatives in this one.

    The log says what was loaded. A resumed run loads everything, without this hook.

    Raises:
        UserError: If the backbone does not fit; names the first tensors.
    """

    priority = 'HIGH'  # before hooks that read the checkpoint

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Choose the tensors, before they go into the model."""
        # Only `Runner.train` has built the loop by now.
        if runner._resume or not isinstance(runner._train_loop, BaseLoop):
            return
        model = unwrapped_model(runner)
        given = tensors_of(checkpoint)
        backbone = fit_tensors(checkpoint, model.backbone, 'backbone.', runner._load_from, REMEDY)
        kept = {f'backbone.{key}': value for key, value in backbone.items()}
        number = sum(map(is_needed, backbone.keys() - set(own_names(backbone, model.backbone))))
        taken = [f'backbone ({number} of {number} tensors)']
        anew = []
        modules = {f'heads.{name}': head for name, head in model.heads.items()}
        if model.target_views:
            modules['target_backbone'] = model.target_backbone
        for name, module in modules.items():
            wanted = {
                key: value
                for key, value in module.state_dict(prefix=f'{name}.').items()
                if not key.startswith(tuple(queue_prefixes(module, f'{name}.')))
            }
            fits = wanted and all(
                key in given and given[key].shape == value.shape for key, value in wanted.items()
            )
            (taken if fits else anew).append(name)
            if fits:
                kept |= {key: given[key] for key in wanted}
        checkpoint['state_dict'] = kept
        runner.logger.info(
            f'loaded from {runner._load_from}: {", ".join(taken)}; newly initialised: '
            f'{", ".join(anew) or "nothing"}'
            + ('; queues start empty' if queue_prefixes(model) else '')
        )


def queue_prefixes(module: nn.Module, prefix: str = '') -> list[str]:
    """Prefixes of the names of the tensors in a module's queues."""
    return [
        f'{prefix}{name}.'
        for name, part in module.named_modules()
        if isinstance(part, EmbeddingQueue)
    ]
