"""Start a new pretraining run from ``load_from``."""

import re

from mmaction.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import Tensor, nn

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
    - the projector of a head is loaded if it fits completely, and then the rest of the head if that
      fits as well; what is not loaded keeps its initial weights;
    - the target network is loaded if it fits completely, and otherwise starts as a copy of the
      online one; the same holds for the target projector of a head;
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
        copied, anew = [], []

        def take(wanted: dict[str, Tensor], otherwise: list[str]) -> bool:
            """Keep these tensors if the file has them all, in the same shapes."""
            fits = all(
                key in given and given[key].shape == value.shape for key, value in wanted.items()
            )
            (taken if fits else otherwise).extend(part_names(wanted))
            if fits:
                kept.update({key: given[key] for key in wanted})
            return fits

        if model.target_views:
            take(model.target_backbone.state_dict(prefix='target_backbone.'), copied)
        for name, head in model.heads.items():
            prefix = f'heads.{name}.'
            projector, target, rest = {}, {}, {}
            queues = tuple(queue_prefixes(head, prefix))
            for key, value in head.state_dict(prefix=prefix).items():
                if key.startswith(f'{prefix}projector.'):
                    projector[key] = value
                elif key.startswith(f'{prefix}target_projector.'):
                    target[key] = value
                elif not key.startswith(queues):
                    rest[key] = value
            if take(projector, anew):
                take(target, copied)
                take(rest, anew)
            else:
                anew.extend(part_names(target | rest))
        checkpoint['state_dict'] = kept
        runner.logger.info(
            f'loaded from {runner._load_from}: {", ".join(taken)}'
            + (f'; copied from the online network: {", ".join(copied)}' if copied else '')
            + f'; newly initialised: {", ".join(anew) or "nothing"}'
            + ('; queues start empty' if queue_prefixes(model) else '')
        )


def part_names(tensors: dict[str, Tensor]) -> list[str]:
    """Names of the parts that hold the tensors: ``target_backbone``, ``heads.inter.projector``."""
    return list(dict.fromkeys(re.match(r'heads(\.[^.]+){2}|[^.]+', key)[0] for key in tensors))


def queue_prefixes(module: nn.Module, prefix: str = '') -> list[str]:
    """Prefixes of the names of the tensors in a module's queues."""
    return [
        f'{prefix}{name}.'
        for name, part in module.named_modules()
        if isinstance(part, EmbeddingQueue)
    ]
