"""Log each objective, its loss at chance, and the fill of its queue."""

from mmaction.registry import HOOKS
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmssl_video.models.heads import SSLHead
from mmssl_video.models.memory.queue import EmbeddingQueue, check_queue_size

from .batch_size import samples_per_batch
from .unwrap import unwrapped_model


@HOOKS.register_module()
class ObjectiveReportHook(Hook):
    """Log every objective with its chance level once, and the queues until they are full.

    A loss over a queue that is not full is lower than over a full one: with n entries as negatives,
    chance is ln(1 + n). A queue too small for the batch is refused before the first iteration. A
    queue longer than the data, in which a query meets its own video, causes a warning.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the queues and describe the objectives."""
        model = unwrapped_model(runner)
        batch_size = self.batch_size = samples_per_batch(runner.train_dataloader) * get_world_size()
        num_videos = len(runner.train_dataloader.dataset)
        self.filling: dict[str, SSLHead] = {}
        for name, head in model.heads.items():
            if isinstance(getattr(head, 'queue', None), EmbeddingQueue):
                enqueued = batch_size * head.keys_per_sample
                check_queue_size(head.queue.size, enqueued, f'model.heads.{name}')
                if head.queue.size > num_videos * head.keys_per_sample:
                    runner.logger.warning(
                        f'model.heads.{name}: a queue of {head.queue.size} is longer than the '
                        f'data, {num_videos} videos, so a query meets its own video in it; set '
                        f'queue_size to {num_videos * head.keys_per_sample // 2} or less'
                    )
                self.filling[name] = head
        for name, head in model.heads.items():
            weight = '' if head.loss_weight == 1 else f', with loss_weight {head.loss_weight}'
            runner.logger.info(
                f'objective {name}: {head.describe()}; loss_{name} at chance '
                f'{head.chance_level(batch_size) * head.loss_weight:.3f}{weight}'
            )

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the queues that are not full yet."""
        for name, head in list(self.filling.items()):
            filled, size = head.queue.num_filled, head.queue.size
            if filled == size:
                runner.logger.info(f'queue of {name}: full ({size})')
                del self.filling[name]
            else:
                chance = head.chance_level(self.batch_size, filled) * head.loss_weight
                runner.logger.info(
                    f'queue of {name}: {filled} of {size}; loss_{name} at chance now {chance:.3f}'
                )
