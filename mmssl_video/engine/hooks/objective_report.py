"""What each objective is, its loss at chance, and how full its queue is."""

import math

from mmaction.registry import HOOKS
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmssl_video.models.memory.queue import EmbeddingQueue, check_queue_size


@HOOKS.register_module()
class ObjectiveReportHook(Hook):
    """Log every objective with its chance level once, and the queues until they are full.

    A loss over a queue that is not full is lower than over a full one: with n entries, chance is
    ln(1 + n). Queues too small for the batch are refused before the first iteration.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the queues and describe the objectives."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        batch_size = runner.train_dataloader.batch_size * get_world_size()
        self.queues: dict[str, EmbeddingQueue] = {}
        for name, head in model.heads.items():
            if isinstance(getattr(head, 'queue', None), EmbeddingQueue):
                check_queue_size(head.queue.size, batch_size, f'model.heads.{name}')
                self.queues[name] = head.queue
        for name, head in model.heads.items():
            weight = '' if head.loss_weight == 1 else f', times {head.loss_weight}'
            runner.logger.info(
                f'objective {name}: {head.describe()}; loss_{name} at chance '
                f'{head.chance_level * head.loss_weight:.3f}{weight}'
            )

    def after_train_epoch(self, runner: Runner) -> None:
        """Report the queues that are still filling."""
        for name, queue in list(self.queues.items()):
            filled = int(queue.num_filled)
            if filled == queue.size:
                runner.logger.info(f'queue of {name}: full ({queue.size})')
                del self.queues[name]
            else:
                runner.logger.info(
                    f'queue of {name}: {filled} of {queue.size}; until it is full, loss_{name} '
                    f'reads low (chance now {math.log1p(filled):.3f})'
                )
