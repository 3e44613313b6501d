"""The videos that cannot be read, of all workers and processes, in one report."""

import copy
from collections.abc import Iterator
from pathlib import Path

from mmaction.registry import HOOKS
from mmengine.dist import all_gather_object, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, DataLoader, Dataset

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets.bad_videos import add_to_report, check_share

MAX_NAMED = 10  # of an epoch, in the log


@HOOKS.register_module()
class BadVideosHook(Hook):
    """List the videos that cannot be read, and stop where they are too many.

    - ``bad_videos.txt`` in the work directory has a line ``path<TAB>reason`` for each, also for
      those left out before training. What earlier runs have written there stays.
    - The log names them after the epoch in which they are found, the first few with reasons.
    - More than the dataset's ``max_bad_share`` stop the run: before training, as soon as one
      process knows of so many, and after an epoch for all processes together. Where one process
      stops, the launcher ends the others.
    - Each epoch, the dataset is told its batches, if it has ``set_order(order, batch_size)``: no
      bad video is replaced by one of its own batch. They are not known in an iteration-based loop,
      with a wrapper around the dataset, or with a batch sampler other than PyTorch's.

    Datasets other than ``UnlabeledVideoDataset`` stop at their first bad video.

    Raises:
        UserError: Too many videos cannot be read.
    """

    # After DistSamplerSeedHook, whose epoch decides the order, and after CheckpointHook: if the run
    # stops after an epoch, it goes on from there.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Find the dataset, and report what it has left out."""
        self.report = Path(runner.work_dir, 'bad_videos.txt')
        self.datasets = list(_video_datasets(runner.train_dataloader.dataset))
        self.bad: dict[str, str] = {}
        for dataset in self.datasets:
            dataset.report = self.report
            self.bad |= dataset.left_out
        self.named = set(self.bad)  # by the dataset
        if self.bad and is_main_process():
            add_to_report(self.report, self.bad)
        self._check()

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell the dataset which videos share a batch."""
        loader = runner.train_dataloader
        if isinstance(runner.train_loop, EpochBasedTrainLoop) and loader.dataset in self.datasets:
            order = _order(loader)
            if order is not None:
                batch_size = loader.batch_size * get_world_size()
                if loader.drop_last:
                    # The sampler may repeat videos in a batch that is not read.
                    read = len(order) // batch_size * batch_size
                    order = order[: max(read, len(loader.dataset))]
                loader.dataset.set_order(order, batch_size)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict = None) -> None:
        """Note the bad videos whose places others have taken in this batch."""
        samples = data_batch['data_samples'] if self.datasets else ()
        found = {
            path: reason
            for sample in samples
            for path, reason in sample.metainfo.get('bad_videos', ())
            if path not in self.bad
        }
        if found:
            self.bad |= found
            # All of them: what another process wrote at the same time may have taken their place.
            add_to_report(self.report, self.bad)
            self._check()

    def after_train_epoch(self, runner: Runner) -> None:
        """Name those that the processes have found."""
        for bad in all_gather_object(self.bad):
            self.bad |= bad
        new = sorted(self.bad.keys() - self.named)
        self.named.update(new)
        if new and is_main_process():
            add_to_report(self.report, self.bad)
            lines = [f'  {path}: {self.bad[path]}' for path in new[:MAX_NAMED]]
            if len(new) > MAX_NAMED:
                lines.append(f'  and {len(new) - MAX_NAMED} more')
            runner.logger.warning(
                f'epoch {runner.epoch + 1}: {len(new)} more videos cannot be read and have been '
                f'replaced, {len(self.bad)} of {self._num_videos} so far; {self.report} lists '
                'them:\n' + '\n'.join(lines)
            )
        self._check()

    @property
    def _num_videos(self) -> int:
        return sum(len(dataset) + len(dataset.left_out) for dataset in self.datasets)

    def _check(self) -> None:
        max_share = max((dataset.max_bad_share for dataset in self.datasets), default=1)
        check_share(self.bad, self._num_videos, max_share, self.report)


def _video_datasets(dataset: Dataset) -> Iterator[UnlabeledVideoDataset]:
    """The dataset itself, or those in MMEngine's wrappers."""
    if isinstance(dataset, UnlabeledVideoDataset):
        yield dataset
    elif hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from _video_datasets(part)
    elif hasattr(dataset, 'dataset'):
        yield from _video_datasets(dataset.dataset)


def _order(loader: DataLoader) -> list[int] | None:
    """Videos of the epoch as all processes together read them; ``None`` where it cannot be told."""
    sampler = loader.sampler
    if not (hasattr(sampler, 'rank') and hasattr(sampler, 'world_size')):
        return None
    whole = copy.copy(sampler)
    whole.rank, whole.world_size = 0, 1
    order = list(whole)
    # MMEngine's sampler gives each process every n-th one of them; another one may not.
    interleaved = order[sampler.rank :: sampler.world_size] == list(copy.copy(sampler))
    return order if interleaved and type(loader.batch_sampler) is BatchSampler else None
