"""Measure the kNN accuracy of the features during pretraining."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmaction.registry import HOOKS
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmssl_video.errors import UserError
from mmssl_video.evaluation import FeatureSet, knn_accuracy
from mmssl_video.evaluation.extract import encode_each
from mmssl_video.evaluation.features import shared_note
from mmssl_video.evaluation.loader import VideoLoader, dataset_options, feature_pipeline

from .progress_bar import ProgressBarHook
from .unwrap import unwrapped_model

MANY_PAIRS = 20_000**2  # takes a minute or more on one core, in each process


@HOOKS.register_module()
class OnlineKNNHook(Hook):
    """Classify labelled videos by their nearest neighbours with the current features.

    After every ``interval`` epochs and after the last one, the online backbone encodes the videos
    as ``tools/extract_features.py`` does, with the config's ``feature_pipeline``, in float32. The
    accuracy of :func:`~mmssl_video.evaluation.knn_accuracy` goes to the log and, as ``knn/top1``
    (and ``knn/top5``) with the epoch as the step, to the visualizer. With one list, each of its
    videos is classified by the others.

    The hook does not affect the run: weights, batch statistics and all random draws are those of a
    run without it. Every process encodes and classifies a part; a video that is on both lists is
    encoded once. The output of the pipeline for the first videos is kept in memory for later
    probes, so these videos are decoded once, with one draw. The probe runs after the checkpoint of
    its epoch.

    A warning says for how many videos the order of the list decides (``tied`` of that function), as
    with collapsed features.

    Before training, lists, labels, files and ``k`` are checked. A ``k`` larger than the list allows
    is refused, and a warning counts the videos that are on both lists. A video that turns out to be
    unreadable later is left out with a warning.

    Args:
        ann_file (str): MMAction2 list (path label) of the videos that vote.
        data_root (str): Folder that the lists are relative to.
        query_ann_file (str, optional): List of the videos to classify.
        interval (int): Epochs between two probes.
        k (int): Number of neighbours that vote.
        temperature (float): Temperature of the votes' weights.
        num_frames (int, optional): Frames (2D) or clips (3D) per video; default the pipeline's.
        batch_size (int): Videos at a time, in each process.
        num_workers (int): Decoding workers of each process; 0 for none.
        keep_gib (float): GiB of clips that each process keeps from one probe to the next.

    Raises:
        UserError: Before training, if a list, a file, a label, ``k`` or ``temperature`` is wrong.
    """

    priority = 'LOWEST'  # after SyncStatisticsHook and CheckpointHook

    def __init__(
        self,
        ann_file: str,
        data_root: str,
        query_ann_file: str | None = None,
        interval: int = 1,
        k: int = 20,
        temperature: float = 0.07,
        num_frames: int | None = None,
        batch_size: int = 8,
        num_workers: int = 2,
        keep_gib: float = 1.0,
    ) -> None:
        self.ann_files = [ann_file] if query_ann_file is None else [ann_file, query_ann_file]
        self.data_root = data_root
        self.interval = interval
        self.k = k
        self.temperature = temperature
        self.num_frames = num_frames
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.keep_gib = keep_gib

    def before_train(self, runner: Runner) -> None:
        """Open the lists and check everything that can be checked without the features."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise UserError(
                'train_cfg: the OnlineKNNHook counts epochs and needs an EpochBasedTrainLoop, not '
                f'{type(runner.train_loop).__name__}'
            )
        pipeline = feature_pipeline(runner.cfg, self.num_frames)
        with _random_states_kept():  # some transforms draw when they are built
            loaders = [
                VideoLoader(
                    pipeline,
                    ann_file,
                    self.data_root,
                    self.batch_size,
                    self.num_workers,
                    dataset=dataset_options(runner.cfg),
                )
                for ann_file in self.ann_files
            ]
        self.listed = []
        self.paths = []
        self.loaders = []
        known = set()
        for ann_file, loader in zip(self.ann_files, loaders, strict=True):
            videos = loader.dataset
            every = range(len(videos))
            labels = [videos.get_data_info(number)['label'] for number in every]
            names = [videos.get_name(number) for number in every]
            self.listed.append(FeatureSet(np.zeros((len(videos), 1)), labels, names, ann_file))
            self.paths.append([videos.get_path(number) for number in every])
            new = []
            for number, path in enumerate(self.paths[-1]):
                if path not in known:
                    known.add(path)
                    new.append(number)
            if new:
                videos.get_subset_(new)
                loader.skip_bad = True  # a bad video must not stop a run that has begun
                self.loaders.append(loader)
        for loader in self.loaders:
            loader.room = int(self.keep_gib * 2**30 * len(loader.dataset) / len(known))
        if shared := self._accuracy(self.listed, self.k)['num_shared']:
            runner.logger.warning(f'OnlineKNNHook: {shared_note(shared)}')
        num_gallery, num_query = len(self.listed[0]), len(self.listed[-1])
        if num_gallery * num_query > MANY_PAIRS * get_world_size():
            runner.logger.warning(
                f'OnlineKNNHook: {num_query} videos are compared with {num_gallery} after each '
                'probe; a few thousand are enough'
            )

    def after_train_epoch(self, runner: Runner) -> None:
        """Encode, classify and log."""
        if not (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            return
        model = unwrapped_model(runner)
        # Two bars on one terminal would overwrite each other.
        bars = [hook.progress for hook in runner.hooks if isinstance(hook, ProgressBarHook)]
        for bar in bars:
            bar.stop()
        model.backbone.eval()
        features = {}
        with _random_states_kept():
            for loader in self.loaders:
                found = encode_each(model, loader, 'Online kNN')
                features |= {loader.dataset.get_path(number): found[number][0] for number in found}
        model.backbone.train()
        for bar in bars:
            bar.start()

        sets = []
        for listed, paths in zip(self.listed, self.paths, strict=True):
            rows = [row for row, path in enumerate(paths) if path in features]
            if not rows:
                raise UserError(f'{listed.source}: none of its videos can be read')
            values = np.stack([features[paths[row]] for row in rows])
            sets.append(FeatureSet(values, listed.labels[rows], listed.names[rows], listed.source))
        # If videos could not be read, fewer than k may remain.
        k = min(self.k, len(sets[0]) - (len(sets) == 1))
        found = self._accuracy(sets, k)
        if is_main_process():
            epoch = runner.epoch + 1
            runner.logger.info(
                f'online kNN, epoch {epoch}: top-1 {found["top1"]:.1f} '
                f'(chance {found["chance"]:.1f}), k {k}'
            )
            if found['tied']:
                runner.logger.warning(
                    f'online kNN, epoch {epoch}: for {found["tied"]:.1f} % of the videos, '
                    'neighbours or classes tie and the order of the list decides; many features '
                    'are equal'
                )
            runner.visualizer.add_scalars(
                {f'knn/{key}': found[key] for key in ('top1', 'top5') if key in found},
                step=epoch,
                file_path=f'{runner.timestamp}.json',
            )

    def _accuracy(self, sets: list[FeatureSet], k: int) -> dict:
        """Classify the last list by the first one, or a single list by itself."""
        return knn_accuracy(sets[0], sets[-1], k, self.temperature, leave_one_out=len(sets) == 1)


@contextmanager
def _random_states_kept() -> Iterator[None]:
    """Restore the generators of Python, numpy and torch afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(gpus):
        yield
    random.setstate(python_state)
    np.random.set_state(numpy_state)
