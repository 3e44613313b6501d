"""Run the settings: videos, pretraining, evaluation, a result file for each row and seed."""

import argparse
import json
import os
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
from command_line import Children
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets.collection import write_list
from mmssl_video.datasets.motion import index_motion
from mmssl_video.datasets.subset import draw_subset, read_labels
from mmssl_video.evaluation.encoder import build_encoder
from mmssl_video.evaluation.finetuning import finetune_config, is_transformer
from mmssl_video.evaluation.frozen import evaluate_frozen
from mmssl_video.evaluation.linear_svm import linear_svm
from mmssl_video.evaluation.loader import feature_pipeline
from mmssl_video.evaluation.pretext import pretext_accuracy
from mmssl_video.evaluation.trivial import frame_difference, mean_frame
from mmssl_video.files import make_folder, reserve_folder, write_json
from mmssl_video.generated import fixed_scenes
from mmssl_video.generated.scenes import CLASSES, write_splits
from mmssl_video.video import available_cores

from .settings import Setting, generated_sets

ROOT = Path(__file__).resolve().parents[2]
FINETUNE = Path('configs/downstream/finetune/tsn_r18_1x8-1x1x3-20e_generated-rgb.py')
FINETUNE_VIT = Path('configs/downstream/finetune/videomae_vit-t_1x8-8x2x1-20e_generated-rgb.py')
REAL_LISTS = ('train.txt', 'test.txt')
SPLITS = ('pretrain', 'gallery', 'query')
METRICS = {'R@1': 'R@1', 'svm_top1': 'SVM top-1'}
NUM_LABELS = 5  # videos per class to fine-tune with, fewer if the smallest class has fewer
TRIVIAL = {'mean_frame': mean_frame, 'frame_difference': frame_difference}
console = Console(stderr=True)


@cache
def read_config(path: Path) -> Config:
    """Read a config file once."""
    return Config.fromfile(path)


def load_config(setting: Setting, seed: int, out: Path, amp: bool) -> Config:
    """Load the config of one run."""
    cfg = deepcopy(read_config(ROOT / 'configs' / setting.config))
    cfg.merge_from_dict(setting.options)
    videos = find_lists(setting.videos, seed, out)
    cfg.merge_from_dict(
        {
            'train_dataloader.dataset.ann_file': str(videos.pretrain),
            'train_dataloader.dataset.data_prefix.video': str(videos.root),
            # One process per run: the other runs need the cores.
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'optim_wrapper.type': 'Bf16OptimWrapper' if amp else 'OptimWrapper',
            'default_hooks.checkpoint.max_keep_ckpts': 1,
        }
    )
    cfg.work_dir = str(out / setting.slug / f'seed{seed}')
    cfg.experiment_name = f'{Path(setting.slug).name}-seed{seed}'
    cfg.randomness = dict(seed=seed)
    return cfg


@dataclass
class Lists:
    """The folder of a set of videos, and its lists."""

    root: Path
    pretrain: Path
    gallery: Path
    query: Path


def find_lists(videos: str, seed: int, out: Path) -> Lists:
    """Return the lists of a generated set, or of a folder: ``train.txt`` is for pretraining."""
    if videos in generated_sets():
        root = out / f'{videos}-seed{seed}'
        return Lists(root, *(root / f'{split}.txt' for split in SPLITS))
    root = Path(videos)
    train, test = (root / name for name in REAL_LISTS)
    return Lists(root, train, train, test)  # pretraining ignores the labels


def result_path(setting: Setting, seed: int, out: Path) -> Path:
    """Return the path of the result of one run."""
    return out / setting.slug / f'seed{seed}.json'


def read_result(setting: Setting, seed: int, out: Path, amp: bool) -> dict | None:
    """Return the result of a run with exactly this config and these lists, if there is one."""
    path = result_path(setting, seed, out)
    if not path.exists():
        return None
    result = json.loads(path.read_text())
    same = result['config'] == fingerprint(setting, seed, out, amp)
    return result if same else None


def is_complete(setting: Setting, result: dict | None) -> bool:
    """Whether a result has all figures; without those of fine-tuning, the run has failed."""
    return result is not None and (not setting.finetune or 'finetune_all' in result)


def fingerprint(setting: Setting, seed: int, out: Path, amp: bool) -> int:
    """Return a number that depends on the settings that change the result, and on real lists."""
    cfg = load_config(setting, seed, out, amp)
    keys = ('model', 'train_dataloader', 'feature_pipeline', 'optim_wrapper', 'param_scheduler')
    keys += ('train_cfg', 'custom_hooks', 'feature_head')
    settings = {key: cfg[key] for key in keys if key in cfg}
    content = Config(settings).pretty_text
    if setting.real:
        videos = find_lists(setting.videos, seed, out)
        content += repr([path.read_bytes() for path in (videos.gallery, videos.query)])
    return zlib.crc32(content.encode())


def run_one(setting: Setting, seed: int, out: Path, amp: bool) -> None:
    """Train (unless the setting is a baseline), evaluate, write the result.

    It is written before fine-tuning too, whose failure then does not lose the frozen figures.

    Raises:
        UserError: If another process does the same run.
    """
    work_dir = load_config(setting, seed, out, amp).work_dir
    make_folder(work_dir)
    with reserve_folder(work_dir) or nullcontext():
        _run_one(setting, seed, out, amp)


def _run_one(setting: Setting, seed: int, out: Path, amp: bool) -> None:
    started = time.time()
    init_default_scope('mmaction')
    config = fingerprint(setting, seed, out, amp)  # of the lists as they are read now
    cfg = load_config(setting, seed, out, amp)
    checkpoint = None
    if setting.baseline in TRIVIAL:
        encoder = TRIVIAL[setting.baseline]()
        cfg.feature_pipeline = encoder.pipeline
    elif setting.baseline == 'random':
        encoder = build_encoder(cfg, None, seed)
    else:
        runner = Runner.from_cfg(cfg)
        runner.train()
        checkpoint = f'{cfg.work_dir}/epoch_{cfg.train_cfg.max_epochs}.pth'
        encoder = build_encoder(cfg, checkpoint)
    videos = find_lists(setting.videos, seed, out)
    if setting.videos == 'objects':
        motion = judge(encoder, cfg, videos)
        appearance = judge(encoder, cfg, find_lists('scenes', seed, out))
        result = {f'motion_{key}': motion[key] for key in METRICS}
        result.update({f'appearance_{key}': appearance[key] for key in METRICS})
        if setting.task is not None:
            accuracy, chance = pretext_accuracy(
                runner.model, cfg, str(videos.query), str(videos.root), rounds=5
            )[setting.task]
            result.update(task=accuracy, task_chance=chance)
    else:
        result = judge(encoder, cfg, videos, parts=setting.videos == 'fixed')

    def write() -> None:
        seconds = round(time.time() - started)
        content = {**result, 'seconds': seconds, 'config': config}
        write_json(result_path(setting, seed, out), content)

    write()
    if setting.finetune:
        result |= finetune(cfg, encoder, videos, checkpoint, seed)
        write()


def judge(encoder: nn.Module, cfg: Config, videos: Lists, parts: bool = False) -> dict[str, float]:
    """Measure retrieval and SVM on the gallery and the queries of a set.

    With `parts`, also an SVM of the motions and one of the textures of fixed scenes.
    """
    lists = videos.gallery, videos.query
    found = evaluate_frozen(
        encoder, feature_pipeline(cfg), *lists, videos.root, num_workers=0, skip_bad=True
    )
    metrics = found.metrics
    for kind in fixed_scenes.PARTS if parts else ():
        sets = (
            replace(features, labels=fixed_scenes.part_of(features.labels, kind))
            for features in (found.gallery, found.query)
        )
        metrics[f'{kind}_svm_top1'] = linear_svm(*sets)['top1']
    return metrics


def finetune(
    cfg: Config, encoder: nn.Module, videos: Lists, checkpoint: str | None, seed: int
) -> dict[str, float]:
    """Return top-1 after fine-tuning with a few labels per class, and with all of the gallery."""
    lines = videos.gallery.read_text().splitlines()
    labels = read_labels(lines)
    num_labels = min(NUM_LABELS, *np.unique(labels, return_counts=True)[1])
    few = Path(cfg.work_dir) / 'few.txt'
    few.parent.mkdir(parents=True, exist_ok=True)
    rows = draw_subset(lines, per_class=num_labels, seed=seed)
    few.write_text(''.join(f'{lines[row]}\n' for row in rows))
    base = read_config(ROOT / (FINETUNE_VIT if is_transformer(cfg) else FINETUNE))
    base = finetune_config(base, cfg, encoder)
    base.model.cls_head.num_classes = max(labels) + 1
    top1 = {}
    for name, ann_file in (('few', few), ('all', videos.gallery)):
        tuning = deepcopy(base)
        tuning.val_dataloader = tuning.val_cfg = tuning.val_evaluator = None  # tested at the end
        for part, path in (('train', ann_file), ('test', videos.query)):
            loader = tuning[f'{part}_dataloader']
            loader.dataset.ann_file = str(path)
            loader.dataset.data_prefix.video = str(videos.root)
            loader.num_workers, loader.persistent_workers = 0, False
        tuning.optim_wrapper.type = cfg.optim_wrapper.type
        tuning.load_from = checkpoint
        tuning.randomness = dict(seed=seed)
        tuning.work_dir = f'{cfg.work_dir}/finetune-{name}'
        tuning.experiment_name = f'{cfg.experiment_name}-{name}'
        runner = Runner.from_cfg(tuning)
        runner.train()
        top1[f'finetune_{name}'] = round(100 * runner.test()['acc/top1'], 2)
    return top1


def generate_videos(settings: list[Setting], seeds: list[int], out: Path) -> None:
    """Write the sets, with labels, that the settings need for each seed."""
    needed = {setting.videos for setting in settings}
    if 'objects' in needed:
        needed.add('scenes')  # the test for appearance
    sets = {name: kind for name, kind in generated_sets().items() if name in needed}
    for seed, (name, kind) in product(seeds, sets.items()):
        root = out / f'{name}-seed{seed}'
        total = sum(kind['sizes']) * len(kind.get('classes', CLASSES))
        with Progress(console=console) as progress:
            task = progress.add_task(f'{name}, seed {seed}', total=total)
            splits = write_splits(root, seed, **kind, progress=partial(progress.advance, task))
        for split, entries in zip(SPLITS, splits, strict=True):
            write_list(root / f'{split}.txt', entries)
        if name == 'objects':
            for split in ('pretrain', 'query'):
                prefix = dict(video=str(root))
                index_motion(UnlabeledVideoDataset([], str(root / f'{split}.txt'), prefix))


def run_all(
    args: argparse.Namespace, settings: list[Setting], after_each: Callable[[], None]
) -> list[str]:
    """Run what is not complete, each row in its own process; return the names of failed runs."""
    todo = [
        (setting, seed)
        for seed in args.seeds
        for setting in settings
        if not is_complete(setting, read_result(setting, seed, args.out, args.amp))
    ]
    threads = max(1, available_cores() // args.jobs)
    environment = {**os.environ, 'OMP_NUM_THREADS': str(threads)}

    def run(setting: Setting, seed: int) -> int:
        folder = args.out / setting.slug
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            str(ROOT / 'tools/compare_methods.py'),
            '--one',
            setting.slug,
            str(seed),
        ]
        command += ['--out', str(args.out), *(['--amp'] if args.amp else [])]
        if args.videos:
            command += ['--videos', *args.videos]
        with (folder / f'seed{seed}.log').open('w') as log:
            return children.run(command, stdout=log, stderr=log, env=environment)

    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()
    failed = []
    progress = Progress(*columns, TimeRemainingColumn(), console=console)
    with ThreadPoolExecutor(args.jobs) as pool, Children() as children, progress:
        try:
            task = progress.add_task('Runs', total=len(todo))
            jobs = {pool.submit(run, *item): item for item in todo}
            for job in as_completed(jobs):
                setting, seed = jobs[job]
                progress.advance(task)
                if job.result():
                    failed.append(f'{setting.slug}, seed {seed}')
                    log = args.out / setting.slug / f'seed{seed}.log'
                    console.print(f'failed: {setting.title}, seed {seed}; see {log}')
                else:
                    console.print(f'{setting.title}, seed {seed}: done')
                after_each()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed
