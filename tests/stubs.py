"""Stand-ins for the Runner, its logger, and for what takes much of the time of short runs."""

from functools import cache
from types import SimpleNamespace

from mmengine.config import config, utils
from mmengine.dataset import base_dataset


def make_mmengine_quick():
    """Skip what takes half of so short a run.

    MMEngine formats each config that it writes, reads MMAction2's metafiles anew for each base from
    there, and collects garbage for each data set.
    """
    config.FormatCode = lambda text, **kwargs: (text, True)
    utils.load = cache(utils.load)
    base_dataset.gc = SimpleNamespace(collect=lambda: None)


class Notes(list):
    """A logger that keeps its lines."""

    def info(self, message):
        self.append(message)

    warning = info


def stub_model(momentum=0.9):
    return SimpleNamespace(momentum=momentum, momentum_copies=[None])


def stub_runner(model=None, batch_size=4, max_iters=10, num_videos=1000):
    return SimpleNamespace(
        model=model or stub_model(),
        iter=0,
        max_iters=max_iters,
        optim_wrapper=SimpleNamespace(_accumulative_counts=1),
        logger=Notes(),
        train_dataloader=SimpleNamespace(batch_size=batch_size, dataset=range(num_videos)),
    )
