"""Write checkpoints that survive any interruption, and resume a run within an epoch."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmaction.registry import HOOKS
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import EpochBasedTrainLoop, Runner, find_latest_checkpoint
from torch import Tensor, distributed
from torch.utils.data import BatchSampler

from mmssl_video.checkpoints.work_dir import POINTER
from mmssl_video.files import atomic_path, reserve_folder

from .reproducible import seed_sampler


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, with its arguments, for runs that may be killed at any moment.

    - An old checkpoint is removed after the new one is complete, and ``last_checkpoint`` is
      replaced in one step. Incomplete files of a killed run are removed when the next run starts.
    - A second run in the same folder ends with an error: it would remove what the first one is
      writing.
    - SIGTERM (Slurm's time limit, torchrun) saves at the end of the iteration, as
      ``iter_<number>.pth``, and ends the process with status 143. With several processes, it is
      enough if one of them gets the signal. The next checkpoint of either kind replaces this one.
    - A checkpoint within an epoch has the number of batches done in ``meta['batch']``; a resumed
      run continues with the next one, in the same order of videos, without reading the earlier
      ones. In the log, the batches of that epoch are counted from 1 again. With a
      ``batch_sampler`` other than PyTorch's the epoch starts again, and the log says so.
    - Gradients that an optimiser step is still accumulating are in no checkpoint. SIGTERM waits for
      the step. The end of an epoch does not, so a run that resumes there is exact only if the
      iterations of an epoch are a multiple of ``accumulative_counts``.

    ``tools/train.py`` uses this hook instead of a config's ``CheckpointHook``. In an
    iteration-based loop, MMEngine itself reads its way to the next batch.
    """

    _earlier = _training = _reservation = None

    def before_train(self, runner: Runner) -> None:
        """Reserve the folder, remove incomplete files there, and listen for SIGTERM."""
        super().before_train(runner)
        self._batch = getattr(self, '_batch', 0)  # from a checkpoint
        self._epoch_start = 0
        self._interim: str | None = None  # the SIGTERM checkpoint from which the run was resumed
        if runner._resume:
            seed_sampler(runner)
        if runner._resume and self._batch:
            path = Path(runner._load_from or find_latest_checkpoint(runner.work_dir))
            own = path.resolve().parent == Path(self.out_dir).resolve()  # not another run's
            if own and self.by_epoch:  # else regular ones have such names, too
                self._interim = path.name
        if is_main_process():
            self._reservation = reserve_folder(runner.work_dir)
            for path in Path(self.out_dir).glob('.*.pth.*.tmp'):
                path.unlink()
        self._group = None
        if get_world_size() > 1:
            # On the CPU, so that asking all processes whether to stop does not wait for a GPU.
            seconds = runner.cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
            timeout = None if seconds is None else timedelta(seconds=seconds)
            self._group = distributed.new_group(backend='gloo', timeout=timeout)
        self._told = False
        self._training = torch.ones(1).share_memory_()
        atexit.register(self._training.zero_)  # an error ends the run without `after_train`
        if threading.current_thread() is threading.main_thread():  # no other one gets signals
            # None is a handler that was not set from Python.
            self._earlier = signal.signal(signal.SIGTERM, self._tell) or signal.SIG_DFL
        loader = runner.train_dataloader
        loader.worker_init_fn = partial(_outlive_sigterm, loader.worker_init_fn, self._training)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        """Record SIGTERM; if an error has ended the run, handle the signal as before."""
        while frame is not None and frame.f_code is not Runner.train.__code__:
            frame = frame.f_back
        if frame is None:
            self.settle()
            os.kill(os.getpid(), number)
        self._told = True

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read the place in the epoch at which a resumed run continues."""
        if runner._resume:
            self._batch = checkpoint['meta'].get('batch', 0)

    def before_train_epoch(self, runner: Runner) -> None:
        """Skip the batches that are done."""
        self._epoch_start = runner.iter - self._batch
        if self._batch and isinstance(runner.train_loop, EpochBasedTrainLoop):
            batches = runner.train_dataloader.batch_sampler
            if type(batches) is BatchSampler:
                batches.sampler = _Rest(batches.sampler, self._batch * batches.batch_size)
                runner.logger.info(
                    f'continuing with batch {self._batch + 1} of {len(runner.train_dataloader)} of '
                    f'epoch {runner.epoch + 1}'
                )
            else:  # its batches cannot be skipped
                self._epoch_start = runner.iter
                runner.logger.warning(
                    f'epoch {runner.epoch + 1} starts again, because a {type(batches).__name__} '
                    f'cannot skip the {self._batch} batches that are done'
                )
        self._batch = 0

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the place in the epoch to the checkpoint."""
        meta = checkpoint['meta']
        if meta['epoch'] == runner.epoch and isinstance(runner.train_loop, EpochBasedTrainLoop):
            meta['batch'] = meta['iter'] - self._epoch_start

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict = None
    ) -> None:
        """Save if a checkpoint is due; save and exit if a process got SIGTERM."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        told = torch.tensor(self._told)
        if self._group is not None:
            distributed.all_reduce(told, distributed.ReduceOp.MAX, group=self._group)
        # A checkpoint does not have gradients that are accumulated within a step.
        between_steps = (runner.iter + 1) % runner.optim_wrapper._accumulative_counts
        if not told or between_steps:
            return
        iteration = runner.iter + 1
        runner.logger.info(f'SIGTERM: saving a checkpoint at iteration {iteration}')
        name = f'iter_{iteration}.pth'
        self._write(runner, name, dict(epoch=runner.epoch, iter=iteration))
        if self._interim not in (None, name) and is_main_process():
            self._remove(self.file_backend.join_path(self.out_dir, self._interim))
        self.settle()
        sys.exit(128 + signal.SIGTERM)

    def after_train_epoch(self, runner: Runner) -> None:
        """Save if a checkpoint is due, and restore the sampler of whole epochs."""
        batches = runner.train_dataloader.batch_sampler
        if isinstance(getattr(batches, 'sampler', None), _Rest):
            batches.sampler = batches.sampler.sampler
        super().after_train_epoch(runner)
        self._epoch_start = runner.iter  # what is saved after validation is of the next epoch

    def after_train(self, runner: Runner) -> None:
        """Finish as MMEngine does, and settle."""
        super().after_train(runner)
        self.settle()

    def settle(self) -> None:
        """Restore the earlier handler of SIGTERM and free the folder: the run has ended."""
        if self._earlier is not None:
            signal.signal(signal.SIGTERM, self._earlier)
            self._earlier = None
        if self._training is not None:
            self._training.zero_()
        if self._reservation is not None:
            self._reservation.close()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save, then remove old checkpoints. MMEngine removes them first."""
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated.append(self.filename_tmpl.format(self.keep_ckpt_ids.popleft()))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        if self._interim is not None:
            outdated.append(self._interim)
            self._interim = None
        self._write(runner, self.filename_tmpl.format(step), meta)
        if is_main_process():
            for name in outdated:
                self._remove(self.file_backend.join_path(self.out_dir, name))

    def _write(self, runner: Runner, name: str, meta: dict) -> None:
        """Write a checkpoint, and its path to ``last_checkpoint``."""
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            with atomic_path(Path(runner.work_dir, POINTER)) as temporary:
                temporary.write_text(self.last_ckpt)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Save the best checkpoint so far, and only then remove the one before."""
        backend = self.file_backend
        self.file_backend = late = _LateRemoval(backend)
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        for path in late.removed:
            self._remove(path)

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # DeepSpeed's
            self.file_backend.rmtree(path)


class _LateRemoval:
    """A file backend that only records what to remove."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.removed: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in ('remove', 'rmtree'):
            return self.removed.append
        return getattr(self._backend, name)


class _Rest:
    """A sampler without the first places of its order; its length is that of the whole order."""

    def __init__(self, sampler: Iterable[int], start: int) -> None:
        self.sampler, self.start = sampler, start

    def __iter__(self) -> Iterator[int]:
        return islice(self.sampler, self.start, None)

    def __len__(self) -> int:
        return len(self.sampler)


def _outlive_sigterm(init: Callable[[int], None] | None, training: Tensor, worker_id: int) -> None:
    """Start a worker that ignores SIGTERM while its parent trains.

    Slurm sends the signal to all processes of a job, but the iteration still needs its batch.
    """
    if init is not None:
        init(worker_id)

    def end_unless_training(*_: Any) -> None:
        if not training:
            os._exit(0)  # as torch's own handler; otherwise the parent reports a killed worker

    signal.signal(signal.SIGTERM, end_unless_training)
