"""Measure how close the embeddings of each objective are to a collapse, and warn of problems."""

import math

import torch
from mmaction.registry import HOOKS
from mmengine.dist import all_gather, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.optim.scheduler.param_scheduler import ConstantParamScheduler, LinearParamScheduler
from mmengine.runner import Runner
from torch import Tensor

from mmssl_video.engine.schedulers import WarmupCosineLR
from mmssl_video.models.heads import SSLHead
from mmssl_video.models.memory import EmbeddingQueue

from .batch_size import samples_per_batch
from .diagnosis import Diagnosis, write_messages
from .unwrap import unwrapped_model


@HOOKS.register_module()
class CollapseMonitorHook(Hook):
    r"""Log the spread of the queries, their similarities and the queues, and warn of problems.

    Measured every ``interval`` iterations, for each head with pairs (``SSLRecognizer.pairs``), over
    the M pairs of all processes; D is the length of an embedding:

    - ``<head>_std``: :func:`embedding_std` of the queries, 0 for a collapse, 1 at best;
    - ``<head>_rank``: :func:`effective_rank` of the queries, at most min(M, D);
    - ``<head>_positive``: mean cosine of a query and its positive;
    - ``<head>_negative``: mean cosine of a query and the other rows' positives, including those of
      its own video if a head makes several pairs of one video;

    and ``<head>_queue``, the fill in percent, for each head with a queue. They have their own line
    in the log, and go to the visualizer (the JSON file, TensorBoard) with the iteration as the
    step.

    :class:`Diagnosis` then checks them and the loss and accuracy of every iteration. Its warnings
    and notes go to the log and to ``warnings.txt`` in the work directory. With several processes,
    the first one judges; losses and accuracies are means over all. Its state is in the checkpoints,
    so a resumed run continues as an unbroken one would.

    Args:
        interval (int): Iterations between two measurements. A short run is measured 20 times.
    """

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self.state: dict | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Load the state of the earlier part of the run."""
        if runner._resume:
            self.state = checkpoint.get('diagnosis')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the state to the checkpoint."""
        checkpoint['diagnosis'] = self.diagnosis.state_dict()

    def before_train(self, runner: Runner) -> None:
        """Start with an empty state, or that of the checkpoint."""
        self.batch_size = samples_per_batch(runner.train_dataloader) * get_world_size()
        self.every = min(self.interval, max(1, runner.max_iters // 20))
        self.diagnosis = Diagnosis(
            runner.max_iters, warmup_end(runner), self.batch_size, self.state
        )
        if is_main_process():
            write_messages(runner.work_dir, self.diagnosis.messages)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict = None) -> None:
        """Store the fill of the queues: the chance levels of this iteration depend on it."""
        heads = unwrapped_model(runner).heads
        self.filled = {name: _num_filled(head) for name, head in heads.items()}

    @torch.no_grad()
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict = None, outputs: dict = None
    ) -> None:
        """Read losses and accuracies; at the end of an interval, measure, log and judge."""
        model = unwrapped_model(runner)
        for name, head in model.heads.items():
            self._observe(runner, name, head, outputs)
        if not self.every_n_train_iters(runner, self.every):
            return
        measured: dict[str, dict[str, float]] = {}
        for name, pair in model.pairs.items():
            query, positive = (torch.cat(all_gather(part.contiguous())) for part in pair)
            measured[name] = {
                'std': embedding_std(query),
                'rank': effective_rank(query),
                **mean_similarities(query, positive),
            }
            self.diagnosis.measure(name, measured[name], len(query))
        for name, head in model.heads.items():
            filled = _num_filled(head)
            if filled is not None:
                measured.setdefault(name, {})['queue'] = 100 * filled / head.queue.size
        if measured:  # order tasks and masked heads have neither pairs nor queues
            lines = (
                f'{name} {", ".join(f"{key} {value:.3g}" for key, value in values.items())}'
                for name, values in measured.items()
            )
            runner.logger.info(f'collapse monitor: {"; ".join(lines)}')
            runner.visualizer.add_scalars(
                {
                    f'{name}_{key}': value
                    for name, values in measured.items()
                    for key, value in values.items()
                },
                step=runner.iter + 1,
                file_path=f'{runner.timestamp}.json',
            )
        self._tell(runner)

    def _observe(self, runner: Runner, name: str, head: SSLHead, outputs: dict) -> None:
        """Pass the values that a head has logged, read where RuntimeInfoHook has stored them."""
        filled = self.filled[name]
        chance = head.chance_level(self.batch_size, filled) * head.loss_weight
        if chance <= 0:  # an empty queue
            return
        accuracy = None
        # While the queue is filling, there are fewer negatives, and the accuracy is higher.
        scalars = runner.message_hub.log_scalars
        if f'{name}_acc' in outputs and (filled is None or filled == head.queue.size):
            accuracy = scalars[f'train/{name}_acc'].current()
        masked = None
        if head.masks:
            keys = [key for key in outputs if key.startswith(f'{name}_')] + ['grad_norm']
            # A run that clips by value has no gradient norm.
            known = [key for key in keys if f'train/{key}' in scalars]
            masked = {key: scalars[f'train/{key}'].current() for key in known}
        self.diagnosis.observe(
            name,
            scalars[f'train/loss_{name}'].current(),
            chance,
            accuracy,
            head.chance_accuracy(self.batch_size),
            masked,
        )

    def _tell(self, runner: Runner) -> None:
        """Log new messages and write them to the file."""
        if not is_main_process():
            return
        new = self.diagnosis.judge(runner.iter + 1)
        for message in new:
            tell = runner.logger.warning if message.is_warning else runner.logger.info
            tell(str(message))
        if new:
            write_messages(runner.work_dir, self.diagnosis.messages)


def _num_filled(head: SSLHead) -> int | None:
    """Number of entries in the queue of a head, if it has one."""
    queue = getattr(head, 'queue', None)
    return queue.num_filled if isinstance(queue, EmbeddingQueue) else None


def warmup_end(runner: Runner) -> int:
    """Number of iterations until the warm-up ends, by the run's schedulers.

    These are linear or constant ones that start low, and ``WarmupCosineLR``. Without any, it is a
    tenth of the run.
    """
    ends = []
    for scheduler in runner.param_schedulers or ():
        if isinstance(scheduler, WarmupCosineLR):
            end = scheduler.begin + scheduler.warmup
        elif isinstance(scheduler, LinearParamScheduler):
            end = scheduler.end if scheduler.start_factor < scheduler.end_factor else 0
        elif isinstance(scheduler, ConstantParamScheduler):
            end = scheduler.end if scheduler.factor < 1 else 0
        else:
            continue
        ends.append(end * (len(runner.train_dataloader) if scheduler.by_epoch else 1))
    return min(math.ceil(max(ends, default=0)) or runner.max_iters // 10, runner.max_iters)


def embedding_std(embeddings: Tensor) -> float:
    r"""Spread of L2-normalised embeddings (Chen & He, 2021, SimSiam, Sec. 4.1).

    The standard deviation over the rows, averaged over the dimensions, times :math:`\sqrt D`. It
    is 0 if all rows are equal, and 1 if they are uniform on the sphere. It cannot exceed 1: the
    squares of the D deviations sum to 1 - ‖mean row‖².

    Args:
        embeddings: [M, D], rows of length 1.
    """
    deviations = embeddings.std(dim=0, correction=0)
    return float(deviations.mean()) * math.sqrt(embeddings.shape[1])


def mean_similarities(query: Tensor, positive: Tensor) -> dict[str, float]:
    """Compute mean cosines of the rows of two arrays [M, D].

    Returns:
        ``positive``, of rows with the same index; if M > 1 ``negative``, of all other pairs.
    """
    num_pairs = len(query)
    with_own = (query * positive).sum()
    means = {'positive': float(with_own / num_pairs)}
    if num_pairs > 1:
        with_others = query.sum(dim=0) @ positive.sum(dim=0) - with_own
        means['negative'] = float(with_others / (num_pairs * (num_pairs - 1)))
    return means


def effective_rank(embeddings: Tensor) -> float:
    r"""Number of dimensions that embeddings fill (Roy & Vetterli, 2007; RankMe, 2023, Eq. 1-2).

    The exponential of the entropy of the singular values, divided by their sum. For r equal
    singular values it is r; if all rows are equal, it is 1. It cannot exceed the smaller of M and
    D: with a batch smaller than D, it depends as much on the batch. It is 0 if all values are 0.

    Args:
        embeddings: [M, D].

    Returns:
        In [1, min(M, D)]; 0 if all values are 0, NaN if one is not finite.
    """
    if not embeddings.isfinite().all():
        return math.nan  # the decomposition would raise
    if not embeddings.any():
        return 0.0
    singular_values = torch.linalg.svdvals(embeddings)
    return float(torch.special.entr(singular_values / singular_values.sum()).sum().exp())
