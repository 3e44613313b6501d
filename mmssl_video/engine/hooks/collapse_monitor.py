"""How far the embeddings of each objective are from being all alike."""

import math

import torch
from mmaction.registry import HOOKS
from mmengine.dist import all_gather
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmssl_video.models.memory import EmbeddingQueue

from .unwrap import unwrapped_model


@HOOKS.register_module()
class CollapseMonitorHook(Hook):
    r"""Log the spread of the queries, their similarities and the queues; warn of a collapse.

    Every ``interval`` iterations, for each head with pairs (``SSLRecognizer.pairs``) and over the
    M pairs of all processes, D being the length of an embedding:

    - ``<head>_std``: :func:`embedding_std` of the queries, 0 for a collapse, 1 at best;
    - ``<head>_rank``: :func:`effective_rank` of the queries, at most min(M, D);
    - ``<head>_positive``: mean cosine of a query and its positive;
    - ``<head>_negative``: mean cosine of a query and the other rows' positives, those of its own
      video among them where a head makes several pairs of one video;

    and ``<head>_queue``, the fill in percent, for each head with a queue. They make a line of the
    log of their own, and go to the visualizer (the JSON file, TensorBoard) with the iteration as
    the step.

    A warning says when the std of a head has fallen below ``min_std``, and again only after it has
    been at twice that value; else a std that wavers about the threshold would warn every time.
    The default is where an InfoNCE loss can no longer tell videos apart: the mean cosine of two
    queries is about 1 - std^2 = 0.99 at 0.1, and differences of 0.01 over a temperature of 0.1
    leave the softmax flat.

    Args:
        interval (int): Iterations between two measurements.
        min_std (float): The std below which a head is said to have collapsed, in [0, 1).
    """

    def __init__(self, interval: int = 50, min_std: float = 0.1) -> None:
        self.interval = interval
        self.min_std = min_std
        self.collapsed: set[str] = set()

    @torch.no_grad()
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict = None, outputs: dict = None
    ) -> None:
        """Measure and log."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        model = unwrapped_model(runner)
        measured: dict[str, dict[str, float]] = {}
        for name, pair in model.pairs.items():
            query, positive = (torch.cat(all_gather(part.contiguous())) for part in pair)
            measured[name] = values = {
                'std': embedding_std(query),
                'rank': effective_rank(query),
                **mean_similarities(query, positive),
            }
            if len(query) > 1:
                self._warn(runner, name, values['std'])
        for name, head in model.heads.items():
            if isinstance(getattr(head, 'queue', None), EmbeddingQueue):
                filled = 100 * int(head.queue.num_filled) / head.queue.size
                measured.setdefault(name, {})['queue'] = filled
        if not measured:  # order tasks have neither pairs nor queues
            return
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

    def _warn(self, runner: Runner, name: str, std: float) -> None:
        if std < self.min_std and name not in self.collapsed:
            self.collapsed.add(name)
            runner.logger.warning(
                f'objective {name}: its embeddings are nearly all alike ({name}_std {std:.3f}, '
                'where 0 is collapse and 1 at best), so it can hardly tell videos apart and its '
                'loss stays at chance, ln(1 + K) for InfoNCE with K negatives. What usually helps: '
                'a lower learning rate, normalisation in the projector '
                "(norm_cfg=dict(type='BN1d')), a larger batch or queue."
            )
        elif std >= 2 * self.min_std:
            self.collapsed.discard(name)


def embedding_std(embeddings: Tensor) -> float:
    r"""Spread of L2-normalised embeddings (Chen & He, 2021, SimSiam, Sec. 4.1).

    The standard deviation over the rows, averaged over the dimensions, times :math:`\sqrt D`. It
    is 0 where all rows are equal and 1 where they are uniform on the sphere, which it cannot
    exceed: the squares of the D deviations sum to 1 - ‖mean row‖².

    Args:
        embeddings: [M, D], rows of length 1.
    """
    deviations = embeddings.std(dim=0, correction=0)
    return float(deviations.mean()) * math.sqrt(embeddings.shape[1])


def mean_similarities(query: Tensor, positive: Tensor) -> dict[str, float]:
    """Mean cosine of rows [M, D] of one index, ``positive``, and of two, ``negative`` if M > 1."""
    num_pairs = len(query)
    with_own = (query * positive).sum()
    means = {'positive': float(with_own / num_pairs)}
    if num_pairs > 1:
        with_others = query.sum(dim=0) @ positive.sum(dim=0) - with_own
        means['negative'] = float(with_others / (num_pairs * (num_pairs - 1)))
    return means


def effective_rank(embeddings: Tensor) -> float:
    r"""Number of dimensions that embeddings fill (Roy & Vetterli, 2007; RankMe, 2023, Eq. 1-2).

    The exponential of the entropy of the singular values, which are divided by their sum. Of r
    equal singular values it is r; 1 where all rows are equal. It cannot exceed the smaller of M
    and D: with a batch smaller than D, it says as much about the batch.

    Args:
        embeddings: [M, D].

    Returns:
        In [1, min(M, D)]; NaN if a value is not finite.
    """
    if not embeddings.isfinite().all():
        return math.nan  # the decomposition would raise
    singular_values = torch.linalg.svdvals(embeddings)
    return float(torch.special.entr(singular_values / singular_values.sum()).sum().exp())
