"""Collect the videos that cannot be read, of all workers and processes, in one report."""

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

MAX_NAMED = 10  # videos of an epoch, in the log


@HOOKS.register_module()
class BadVideosHook(Hook):
    """List the videos that cannot be read, and stop if there are too many.

    - ``bad_videos.txt`` in the work directory has a line ``path<TAB>reason`` for each, also for
      those left out before training. Lines of earlier runs are kept.
    - The log names them after the epoch in which they are found, the first few with reasons.
    - More than the dataset's ``max_bad_share`` stop the run: before training, as soon as one
      process has found too many, and after an epoch for all processes together. If one process
      stops, the launcher ends the others.
    - In each epoch, the hook passes the batches to the dataset, if it has ``set_order(order,
      batch_size)``, so that no bad video is replaced by one of its own batch. The batches are not
      known in an iteration-based loop, with a wrapper around the dataset, or with a batch sampler
      other than PyTorch's.

    Datasets other than ``UnlabeledVideoDataset`` stop at their first bad video.

    Raises:
        UserError: Too many videos cannot be read.
    """

    # After DistSamplerSeedHook, which sets the epoch that decides the order, and after
    # CheckpointHook: if the run stops after an epoch, it can continue from there.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Find the dataset, and report the videos that it has left out."""
        self.report = Path(runner.work_dir, 'bad_videos.txt')
        self.datasets = list(_video_datasets(runner.train_dataloader.dataset))
        self.bad: dict[str, str] = {}
        for dataset in self.datasets:
            dataset.report = self.report
            self.bad |= dataset.left_out
        self.named = set(self.bad)  # the dataset has already named these
        if self.bad and is_main_process():
            add_to_report(self.report, self.bad)
        self._check()

    def before_train_epoch(self, runner: Runner) -> None:
        """Pass to the dataset which videos share a batch."""
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
        """Record the bad videos that were replaced in this batch."""
        samples = data_batch['data_samples'] if self.datasets else ()
        found = {
            path: reason
            for sample in samples
            for path, reason in sample.metainfo.get('bad_videos', ())
            if path not in self.bad
        }
        if found:
            self.bad |= found
            # Write all of them: another process may have overwritten the file at the same time.
            add_to_report(self.report, self.bad)
            self._check()

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the bad videos that all processes have found."""
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
    """Yield the dataset itself, or the datasets in MMEngine's wrappers."""
    if isinstance(dataset, UnlabeledVideoDataset):
        yield dataset
    elif hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from _video_datasets(part)
    elif hasattr(dataset, 'dataset'):
        yield from _video_datasets(dataset.dataset)


def _order(loader: DataLoader) -> list[int] | None:
    """Order of the epoch's videos for all processes together; ``None`` if it is not known."""
    sampler = loader.sampler
    if not (hasattr(sampler, 'rank') and hasattr(sampler, 'world_size')):
        return None
    whole = copy.copy(sampler)
    whole.rank, whole.world_size = 0, 1
    order = list(whole)
    # MMEngine's sampler gives each process every n-th video; another sampler may not.
    interleaved = order[sampler.rank :: sampler.world_size] == list(copy.copy(sampler))
    return order if interleaved and type(loader.batch_sampler) is BatchSampler else None
