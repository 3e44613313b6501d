"""Average the running statistics of normalisations over the processes."""

from mmaction.registry import HOOKS
from mmengine.dist import all_reduce_params
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


@HOOKS.register_module()
class SyncStatisticsHook(Hook):
    """Give all processes the mean of their running statistics, of normalisations in training mode.

    It runs after each epoch and, in an iteration-based loop, before each validation.

    MMEngine's ``SyncBuffersHook`` averages all buffers. The mean of equal values may differ from
    them in the last bit, for example with 3 processes, so it also changes frozen statistics, queues
    and tables. ``SyncBatchNorm`` has equal statistics in all processes, too.

    Other buffers stay as they are in each process. ``tools/train.py`` uses this hook instead of a
    config's ``SyncBuffersHook``.
    """

    def before_val_epoch(self, runner: Runner) -> None:
        """Average before a validation within an iteration-based loop."""
        if isinstance(runner._train_loop, IterBasedTrainLoop):
            self.after_train_epoch(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Average at the end of an epoch."""
        statistics = [
            tensor
            for module in runner.model.modules()
            if isinstance(module, _NormBase) and not isinstance(module, nn.SyncBatchNorm)
            for tensor in (module.running_mean, module.running_var)
            if module.training and tensor is not None
        ]
        all_reduce_params(statistics, op='mean')
