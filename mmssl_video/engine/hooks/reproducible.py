"""Make random draws depend on seed, epoch, iteration and rank alone."""

import numpy as np
import torch
from mmaction.registry import HOOKS
from mmengine.dist import broadcast, get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner


def seed_sampler(runner: Runner) -> None:
    """Set the sampler's seed to that of the run, which may come from a checkpoint."""
    if hasattr(runner.train_dataloader.sampler, 'seed'):
        # One seed for all processes, because each takes its part of one order.
        seed = torch.tensor(runner.seed)
        broadcast(seed)
        runner.train_dataloader.sampler.seed = int(seed)


@HOOKS.register_module()
class ReproducibleHook(Hook):
    """Make a run repeatable, also after a resume and for any number of workers.

    - In each iteration, torch's generator starts from (seed, iteration, rank). This decides the
      draws of the heads.
    - In each epoch, the dataset gets the seed and the epoch, if it has ``set_epoch(seed, epoch)``
      (``UnlabeledVideoDataset`` has), and so does each one of a ``ConcatDataset``. This decides the
      draws of the pipeline. In other wrappers, and in an iteration-based loop, which has no epochs,
      the draws follow MMEngine's seeds of the workers.
    - A resumed run shuffles with the seed in its checkpoint.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Shuffle with the seed of the run."""
        seed_sampler(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Pass seed and epoch to the dataset, or to each of concatenated ones."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            return
        dataset = runner.train_dataloader.dataset
        for number, part in enumerate(getattr(dataset, 'datasets', [dataset])):
            if hasattr(part, 'set_epoch'):
                part.set_epoch(runner.seed + number, runner.epoch)  # each draws on its own

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict = None) -> None:
        """Seed the draws of the iteration."""
        words = np.random.SeedSequence([runner.seed, runner.iter, get_rank()])
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0]))
