"""Set the epoch of objectives that depend on it, and freeze their parameters."""

from mmaction.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmssl_video.errors import UserError

from .unwrap import unwrapped_model


@HOOKS.register_module()
class HeadEpochHook(Hook):
    """Pass the epoch, counted from 0, to every head that has ``set_epoch``.

    ``SwAVHead`` uses it to freeze its prototypes and to start its queue. A resumed run continues
    with the epoch of its checkpoint.

    A head's ``frozen_parameters`` have no gradient in the optimiser's steps. A gradient of zeros is
    not enough: weight decay and momentum would still change the parameters.

    Raises:
        UserError: If there is such a head and the train loop has no epochs.
    """

    def before_train(self, runner: Runner) -> None:
        """Register the hook that removes gradients of frozen parameters before each step."""
        heads = unwrapped_model(runner).heads.values()

        def leave_out_frozen(*args) -> None:
            for head in heads:
                for parameter in getattr(head, 'frozen_parameters', ()):
                    parameter.grad = None

        runner.optim_wrapper.optimizer.register_step_pre_hook(leave_out_frozen)

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the epoch of the heads."""
        model = unwrapped_model(runner)
        for name, head in model.heads.items():
            if not hasattr(head, 'set_epoch'):
                continue
            if not isinstance(runner.train_loop, EpochBasedTrainLoop):
                raise UserError(
                    f'train_cfg: the epochs of model.heads.{name} need an EpochBasedTrainLoop, not '
                    f'{type(runner.train_loop).__name__}, which stays in epoch 0'
                )
            head.set_epoch(runner.epoch)
