"""Train the small recipes, each in the budget of its table, and write docs/results.md.

    python tools/compare_methods.py
    python tools/compare_methods.py --videos DIR    # one recipe for each idea on your videos too

On each of the seeds (of videos, weights and draws), a method is pretrained without labels; then
the frozen backbone is judged on held-out videos by retrieval and by a linear SVM, beside random
weights, the mean frame and the frame difference.

With --videos, the first tables are of real videos: folders with a train.txt and a test.txt,
MMAction2 lists with lines `path label`. There, what the guide recommends is fine-tuned too.

The contrastive family sees the demo's textured scenes, the ablations of CVRL's augmentation and of
VCLR's losses see scenes whose nuisances stay in a video, and the folders. The order family and the
predictive methods see moving objects, are judged on both the motions of these and the textures of
the scenes, and tell how well they solve their own task on held-out videos.

All of it takes some hours on two cores; --only chooses rows. Ctrl-C stops it, and the same command
goes on: a run whose config has not changed is not repeated. Half-done tables are written too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import combinations, product
from pathlib import Path
from textwrap import fill

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
from mmssl_video.errors import UserError, one_line_errors
from mmssl_video.evaluation.encoder import build_encoder
from mmssl_video.evaluation.finetuning import finetune_config
from mmssl_video.evaluation.frozen import evaluate_frozen
from mmssl_video.evaluation.linear_svm import linear_svm
from mmssl_video.evaluation.loader import feature_pipeline
from mmssl_video.evaluation.pretext import pretext_accuracy
from mmssl_video.evaluation.trivial import frame_difference, mean_frame
from mmssl_video.files import atomic_path, write_json
from mmssl_video.generated import fixed_scenes, moving_objects
from mmssl_video.generated.scenes import CLASSES, write_splits
from mmssl_video.video import available_cores

ROOT = Path(__file__).resolve().parents[1]
FINETUNE = Path('configs/downstream/finetune/tsn_r18_1x8-1x1x3-20e_generated-rgb.py')
REAL_LISTS = ('train.txt', 'test.txt')
SPLITS = ('pretrain', 'gallery', 'query')
SIZES = (50, 15, 10)  # videos of a class in each split
OBJECT_SIZES = (60, 24, 12)
METRICS = {'R@1': 'R@1', 'svm_top1': 'SVM top-1'}
FIXED_METRICS = METRICS | {f'{kind}_svm_top1': f'{kind}, SVM' for kind in fixed_scenes.PARTS}
OBJECT_METRICS = {
    'task': 'own task; chance',
    **{
        f'{kind}_{key}': f'{kind}, {name}'
        for kind in ('motion', 'appearance')
        for key, name in METRICS.items()
    },
}
NUM_LABELS = 5  # videos of a class to fine-tune with
TUNED_METRICS = {
    'finetune_few': f'fine-tuned, {NUM_LABELS} a class',
    'finetune_all': 'fine-tuned, all',
}
TRIVIAL = {'mean_frame': mean_frame, 'frame_difference': frame_difference}
console = Console(stderr=True)


@dataclass
class Setting:
    """One row of a table.

    Attributes:
        title: First column of the row.
        config: Below ``configs/``.
        options: What is changed in the config.
        paper: The paper's figure that the order is compared by, if there is one.
        baseline: ``'random'`` or a key of `TRIVIAL`; these are not trained.
        videos: A key of `generated_sets`, or a folder of real videos.
        task: The head whose accuracy on held-out videos is told.
        finetune: Whether the network is fine-tuned too, with all labels and with few.
    """

    title: str
    config: str
    options: dict = field(default_factory=dict)
    paper: float | None = None
    baseline: str | None = None
    videos: str = 'scenes'
    task: str | None = None
    finetune: bool = False

    @property
    def slug(self) -> str:
        """Name of the folder of the runs."""
        off = '-'.join(key.rsplit('.', 1)[1] for key in self.options)
        name = f'{self.baseline or Path(self.config).stem}{"-without-" + off if off else ""}'
        if self.baseline == 'random':
            name += f'-{Path(self.config).stem.split("_generated")[0]}'  # its clips are a recipe's
        return f'{Path(self.videos).name}/{name}'

    @property
    def real(self) -> bool:
        """Whether the videos are in a folder, not generated."""
        return self.videos not in generated_sets()


def small(method: str, name: str, views: str = '4x2x2', backbone: str = 'slowonly-r18') -> str:
    """Path of a small recipe."""
    return f'{method}/{name}_{backbone}_1x16-{views}-16e_generated-rgb.py'


def on_objects(title: str, method: str, name: str, views: str, task: str) -> Setting:
    """A row of a small recipe of order or prediction."""
    backbone = 'slowonly-r18' if views.startswith('1x') else 'r3d-r18'  # of frames or clips
    return Setting(title, small(method, name, views, backbone), videos='objects', task=task)


def vclr_losses(*names: str) -> dict:
    """VCLR with these objectives alone."""
    heads = ('inter', 'intra', 'video', 'order')
    return {f'model.heads.{head}': None for head in heads if head not in names}


VCLR = small('vclr', 'vclr', '4x2x3')
CVRL = small('cvrl', 'cvrl')
SHUFFLE_LEARN = small('shuffle_learn', 'shuffle-learn', '1x1x5')
VCOP = small('vcop', 'vcop', '4x2x3', 'r3d-r18')
OBJECTS = 'Order family and prediction, on moving objects'
BASELINES = [
    Setting('random weights', CVRL, baseline='random'),
    Setting('mean frame', CVRL, baseline='mean_frame'),
    Setting('frame difference', CVRL, baseline='frame_difference'),
]
METHODS = [
    *BASELINES,
    Setting('MoCo v2, one clip twice', small('mocov2', 'mocov2', '4x2x1')),
    Setting('MoCo v2, two clips', small('mocov2', 'mocov2')),
    Setting('VINCE', small('vince', 'vince', '4x2x4')),
    Setting('SeCo', small('seco', 'seco', '4x2x3')),
    Setting('VCLR', VCLR),
    Setting('SimCLR', small('simclr', 'simclr')),
    Setting('CVRL', CVRL),
    Setting('VCLR + CVRL', small('vclr', 'vclr-cvrl', '4x2x8')),
    Setting('ρ-MoCo, ρ = 3', small('rho_moco', 'rho-moco', '4x2x3')),
    Setting('ρ-BYOL, ρ = 2', small('rho_byol', 'rho-byol')),
    Setting('ρ-SimCLR, ρ = 3', small('rho_simclr', 'rho-simclr', '4x2x3')),
    Setting('ρ-SwAV, ρ = 2', small('rho_swav', 'rho-swav')),
    Setting('NNCLR', small('nnclr', 'nnclr')),
    Setting('IIVCL', small('iivcl', 'iivcl')),
    Setting('VideoMAE, 100 epochs', 'videomae/videomae_vit-t_1x16-8x2x1-100e_generated-rgb.py'),
]
OBJECT_ROWS = [
    Setting('random weights, clips', VCOP, baseline='random', videos='objects'),
    Setting('random weights, frames', SHUFFLE_LEARN, baseline='random', videos='objects'),
    Setting('mean frame', VCOP, baseline='mean_frame', videos='objects'),
    Setting('frame difference', VCOP, baseline='frame_difference', videos='objects'),
    on_objects('Shuffle & Learn', 'shuffle_learn', 'shuffle-learn', '1x1x5', 'order'),
    on_objects('OPN', 'opn', 'opn', '1x1x4', 'order'),
    on_objects('O3N', 'o3n', 'o3n', '4x2x6', 'odd_one'),
    on_objects('VCOP', 'vcop', 'vcop', '4x2x3', 'order'),
    on_objects('PacePred', 'pace', 'pace', '4x1x1', 'pace'),
    on_objects('SpeedNet', 'speednet', 'speednet', '4x1x2', 'speed'),
    on_objects('3D-RotNet', 'rotnet3d', 'rotnet3d', '4x2x1', 'rotation'),
    on_objects('DPC', 'dpc', 'dpc', '4x1x6', 'dpc'),
    on_objects('MemDPC', 'memdpc', 'memdpc', '4x1x6', 'memdpc'),
    on_objects('VCLR on DPC', 'vclr', 'vclr-dpc', '4x1x12', 'dpc'),
]


def augmentations(videos: str) -> list[Setting]:
    """CVRL, Table 4: temporal and spatial augmentation, and temporal consistency."""
    return [
        Setting('random weights', CVRL, baseline='random', videos=videos),
        Setting('TA', small('cvrl', 'cvrl-ta'), paper=24.8, videos=videos),
        Setting('SA', small('cvrl', 'cvrl-sa', '4x2x1'), paper=40.4, videos=videos),
        Setting('TA + SA', small('cvrl', 'cvrl-ta-sa'), paper=49.2, videos=videos),
        Setting('TA + SA + TC', CVRL, paper=58.8, videos=videos),
    ]


def losses(videos: str) -> list[Setting]:
    """VCLR, Table 6: its objectives."""
    figures = {
        'intra': None,
        'order': 51.8,
        'inter': 59.0,
        'inter + intra': 60.7,
        'inter + intra + order': 61.2,
        'video': 62.1,
        'inter + intra + video': 63.5,
        'inter + intra + video + order': 64.1,
    }
    return [
        Setting(title, VCLR, vclr_losses(*title.split(' + ')), paper, videos=videos)
        for title, paper in figures.items()
    ]


def on_folder(folder: str) -> list[Setting]:
    """A recipe for each idea, on real videos."""
    clips = 'cvrl/cvrl_r3d-r18_1x32-12x2x2-40e_folder-rgb.py'
    differences = 'cvrl/cvrl_r3d-r18_1x32-12x2x2-40e_folder-rgbdiff.py'
    vclr = 'vclr/vclr_r18_demo.py'
    recipes = {
        'VCLR, frames (video-level)': vclr,
        'CVRL, clips': clips,
        'NNCLR, differences (neighbours)': 'nnclr/nnclr_r3d-r18_1x32-12x2x2-40e_folder-rgbdiff.py',
        'VCOP, differences (order)': 'vcop/vcop_r3d-r18_1x32-4x2x3-40e_folder-rgbdiff.py',
        'PacePred, differences (pace)': 'pace/pace_r3d-r18_1x32-8x1x1-40e_folder-rgbdiff.py',
        'VCLR, differences (contrast and order)': (
            'vclr/vclr_r3d-r18_1x32-4x2x3-40e_folder-rgbdiff.py'
        ),
        'CVRL, differences': differences,
        'VideoMAE, 100 epochs': 'videomae/videomae_vit-t_1x16-8x2x1-100e_folder-rgb.py',
    }
    rows = [
        Setting('mean frame', clips, baseline='mean_frame', videos=folder),
        Setting('frame difference', clips, baseline='frame_difference', videos=folder),
    ]
    for name, config in (('frames', vclr), ('clips', clips), ('differences', differences)):
        rows.append(
            Setting(
                f'random weights, {name}',
                config,
                baseline='random',
                videos=folder,
                finetune=config == differences,
            )
        )
    return rows + [
        Setting(title, config, videos=folder, finetune=config == differences)
        for title, config in recipes.items()
    ]


# Figures that share a protocol; Kinetics-400, linear.
ORDERS = {
    'Frame-level methods, ResNet-50 (figures of VCLR)': {'VINCE': 49.1, 'SeCo': 61.9, 'VCLR': 64.1},
    'ρ family, SlowOnly-50, ρ = 2 (ours: 3 for MoCo and SimCLR)': {
        'ρ-SimCLR, ρ = 3': 61.5,
        'ρ-SwAV, ρ = 2': 62.6,
        'ρ-MoCo, ρ = 3': 66.6,
        'ρ-BYOL, ρ = 2': 67.4,
    },
}
REAL_INTRODUCTION = """\
## Real videos

Pretrained on the train list of a folder without its labels, and judged on its test list: frozen,
with the train list as the gallery; and fine-tuned as a whole with 5 labels of each class or with
all of them, 20 epochs. R3D-18 at a quarter of its width, 12 frames or differences of frames at 32
pixels, 40 epochs; *VCLR, frames* is the demo's recipe. Fine-tuned random weights are the network
from scratch. Percent: mean ± standard deviation over seeds (of weights and draws), then each seed.
[Choosing a recipe](choosing.md) says what to make of it.

Written by `{command}`, one thread a run. DIR has a `train.txt` and a `test.txt`, as
`tools/data/make_lists.py` makes them of JHMDB.
"""
INTRODUCTION = """\
## Generated videos

Every method's small recipe: 16 epochs by one optimiser and schedule, in batches of 16 videos. For
contrast, SlowOnly-18 at a quarter of its width (2.0 M parameters), from random weights; {pretrain}
unlabelled videos (30 frames of 96 x 72 pixels), clips of 4 frames at 64 pixels. The backbone is
judged frozen, on held-out videos of {classes} classes: {gallery} in the gallery, {query} queries.
In the demo's generated set, which the methods are compared on, classes differ in texture alone,
and colours, light and camera drift in a video. In the fixed scenes of the ablations, they stay as
they are in a video and differ between videos; a class is a motion and a texture, and an SVM is
asked for each of the two alone, too. Percent: mean ± standard deviation over
seeds (of videos, weights and draws), then each seed. Chance is {chance} %. With {query} queries, a
single figure has a standard error of up to 4.6 points.

Written by `{command}`, one thread a run. It checks that each
method learns and is no ranking: settings were not tuned method by method, and these epochs are few.
"""

OBJECTS_INTRODUCTION = f"""\
Pretrained on {OBJECT_SIZES[0] * len(moving_objects.CLASSES)} videos of moving objects:
{len(moving_objects.CLASSES)} motions ({', '.join(moving_objects.CLASSES)}), whose pictures have
one distribution of textures and colours. R3D-18 at a quarter of its width (2.1 M parameters); for
Shuffle & Learn and OPN the SlowOnly-18 above, on single frames, which can tell a
motion by places and sizes alone. *Own task* is the accuracy of the method's head on views of
{OBJECT_SIZES[2] * len(moving_objects.CLASSES)} videos that it was not trained on, and that of
chance. *Motion* classes are those of the objects:
{OBJECT_SIZES[1] * len(moving_objects.CLASSES)} videos in the gallery,
{OBJECT_SIZES[2] * len(moving_objects.CLASSES)} queries, a standard error of up to 5.1 points,
chance {100 / len(moving_objects.CLASSES):.1f} %. *Appearance* classes are the textures of the
scenes above, which these methods have not seen.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default 0 1 2')
    parser.add_argument(
        '--only',
        nargs='+',
        metavar='TEXT',
        help='run the rows whose title or config has one of these texts in it',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=available_cores(),
        help='runs at a time, which share the cores (default one for each core)',
    )
    parser.add_argument(
        '--videos',
        nargs='+',
        default=[],
        metavar='DIR',
        help='folders of real videos with a train.txt and a test.txt (MMAction2 lists, relative to '
        'the folder); each becomes a table',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision in bfloat16')
    parser.add_argument('--out', default='work_dirs/compare', help='folder of videos and runs')
    parser.add_argument('--table', default='docs/results.md', help='file of the tables')
    parser.add_argument('--one', nargs=2, metavar=('SLUG', 'SEED'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out, args.table = (ROOT / path for path in (args.out, args.table))
    args.videos = [str(Path(folder).resolve()) for folder in args.videos]
    for path in (Path(folder, name) for folder in args.videos for name in REAL_LISTS):
        if not path.is_file():
            raise UserError(
                f'--videos: {path} is missing; write a list with lines `path label`, paths '
                'relative to the folder'
            )
    return args


def tables(folders: Sequence[str] = ()) -> dict[str, list[Setting]]:
    """The rows of each table by its title, those of folders of real videos first."""
    real = {Path(folder).name: on_folder(folder) for folder in folders}
    ablations = {}
    for videos in ('fixed', *folders):
        name = 'fixed scenes' if videos == 'fixed' else Path(videos).name
        ablations[f'Augmentation of CVRL, {name}'] = augmentations(videos)
        ablations[f'Losses of VCLR, {name}'] = losses(videos)
    return {**real, 'Methods': METHODS, **ablations, OBJECTS: OBJECT_ROWS}


def settings_by_slug(folders: Sequence[str] = ()) -> dict[str, Setting]:
    """All rows once: tables share some."""
    return {row.slug: row for rows in tables(folders).values() for row in rows}


@cache
def read_config(path: Path) -> Config:
    """A config file, read once."""
    return Config.fromfile(path)


def load_config(setting: Setting, seed: int, out: Path, amp: bool) -> Config:
    """The config of one run."""
    cfg = deepcopy(read_config(ROOT / 'configs' / setting.config))
    cfg.merge_from_dict(setting.options)
    videos = find_lists(setting.videos, seed, out)
    cfg.merge_from_dict(
        {
            'train_dataloader.dataset.ann_file': str(videos.pretrain),
            'train_dataloader.dataset.data_prefix.video': str(videos.root),
            # One process a run: the cores are for the other runs.
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
    """A set's folder, and its lists."""

    root: Path
    pretrain: Path
    gallery: Path
    query: Path


def find_lists(videos: str, seed: int, out: Path) -> Lists:
    """The lists of a generated set, or of a folder: it is pretrained on ``train.txt``."""
    if videos in generated_sets():
        root = out / f'{videos}-seed{seed}'
        return Lists(root, *(root / f'{split}.txt' for split in SPLITS))
    root = Path(videos)
    train, test = (root / name for name in REAL_LISTS)
    return Lists(root, train, train, test)  # pretraining leaves labels alone


def result_path(setting: Setting, seed: int, out: Path) -> Path:
    """Where the result of one run is."""
    return out / setting.slug / f'seed{seed}.json'


def read_result(setting: Setting, seed: int, out: Path, amp: bool) -> dict | None:
    """The result of a run with this very config, if there is one."""
    path = result_path(setting, seed, out)
    if not path.exists():
        return None
    result = json.loads(path.read_text())
    same = result['config'] == fingerprint(load_config(setting, seed, out, amp))
    return result if same else None


def fingerprint(cfg: Config) -> int:
    """A number that changes with what the result depends on."""
    keys = ('model', 'train_dataloader', 'feature_pipeline', 'optim_wrapper', 'param_scheduler')
    keys += ('train_cfg', 'custom_hooks', 'feature_head')
    settings = {key: cfg[key] for key in keys if key in cfg}
    return zlib.crc32(Config(settings).pretty_text.encode())


def generated_sets() -> dict[str, dict]:
    """What is written: arguments of `write_splits`."""
    return {
        'scenes': dict(sizes=SIZES),
        'fixed': dict(
            sizes=SIZES,
            classes=fixed_scenes.CLASSES,
            render=fixed_scenes.render_fixed_scene,
        ),
        'objects': dict(
            sizes=OBJECT_SIZES,
            classes=moving_objects.CLASSES,
            render=moving_objects.render_object,
        ),
    }


def run_one(setting: Setting, seed: int, out: Path, amp: bool) -> None:
    """Train (unless it is a baseline), evaluate, write the result."""
    started = time.time()
    init_default_scope('mmaction')
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
    if setting.finetune:
        result |= finetune(cfg, encoder, videos, checkpoint, seed)
    write_json(
        result_path(setting, seed, out),
        {
            **result,
            'seconds': round(time.time() - started),
            'config': fingerprint(load_config(setting, seed, out, amp)),
        },
    )


def judge(encoder: nn.Module, cfg: Config, videos: Lists, parts: bool = False) -> dict[str, float]:
    """Retrieval and SVM on the gallery and the queries of a set.

    With `parts`, an SVM of the motions and one of the textures of fixed scenes besides.
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
    """Top-1 after fine-tuning with few labels of each class, and with all of the gallery."""
    lines = videos.gallery.read_text().splitlines()
    few = Path(cfg.work_dir) / 'few.txt'
    few.parent.mkdir(parents=True, exist_ok=True)
    rows = draw_subset(lines, per_class=NUM_LABELS, seed=seed)
    few.write_text(''.join(f'{lines[row]}\n' for row in rows))
    base = finetune_config(read_config(ROOT / FINETUNE), cfg, encoder)
    base.model.cls_head.num_classes = max(read_labels(lines)) + 1
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
    """Write the sets of each seed that a row needs, with labels."""
    needed = {setting.videos for setting in settings}
    if 'objects' in needed:
        needed.add('scenes')  # whose textures they are judged on
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


def run_all(args: argparse.Namespace, settings: list[Setting]) -> list[str]:
    """Run what is missing, each in a process of its own; the names of those that failed."""
    todo = [
        (setting, seed)
        for seed in args.seeds
        for setting in settings
        if read_result(setting, seed, args.out, args.amp) is None
    ]
    threads = max(1, available_cores() // args.jobs)
    environment = {**os.environ, 'OMP_NUM_THREADS': str(threads)}

    def run(setting: Setting, seed: int) -> int:
        folder = args.out / setting.slug
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, '--one', setting.slug, str(seed)]
        command += ['--out', str(args.out), *(['--amp'] if args.amp else [])]
        if args.videos:
            command += ['--videos', *args.videos]
        with (folder / f'seed{seed}.log').open('w') as log:
            return subprocess.run(command, stdout=log, stderr=log, env=environment).returncode

    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()
    failed = []
    pool = ThreadPoolExecutor(args.jobs)
    try:
        with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
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
                write_tables(args)
    finally:
        pool.shutdown(cancel_futures=True)
    return failed


Results = dict[str, dict[int, dict]]
"""The results that are there, by slug and seed."""


def metrics_of(row: Setting) -> dict[str, str]:
    """Columns of a table, by a row of it: keys of the results, and how they are called."""
    if row.videos == 'objects':
        return OBJECT_METRICS
    if row.videos == 'fixed':
        return FIXED_METRICS
    return METRICS | TUNED_METRICS if row.real else METRICS


def write_tables(args: argparse.Namespace) -> None:
    """Write the tables of the results that are there."""
    results: Results = {}
    for slug, setting in settings_by_slug(args.videos).items():
        found = {seed: read_result(setting, seed, args.out, args.amp) for seed in args.seeds}
        results[slug] = {seed: result for seed, result in found.items() if result is not None}
    pretrain, gallery, query = (size * len(CLASSES) for size in SIZES)
    command = 'python tools/compare_methods.py' + (' --amp' if args.amp else '')
    introduction = INTRODUCTION.format(
        pretrain=pretrain,
        gallery=gallery,
        query=query,
        classes=len(CLASSES),
        chance=round(100 / len(CLASSES), 1),
        command=command,
    )
    parts = ['# Results\n']
    if args.videos:
        parts.append(REAL_INTRODUCTION.format(command=f'{command} --videos DIR'))
    for title, rows in tables(args.videos).items():
        if title == 'Methods':
            parts.append(introduction)
        about = f'{fill(OBJECTS_INTRODUCTION, 100)}\n\n' if title == OBJECTS else ''
        parts.append(f'### {title}\n\n{about}{table(rows, results)}')
        if title == 'Methods':
            by_title = {row.title: row for row in rows}
            for name, figures in ORDERS.items():
                chosen = [(by_title[key], figure) for key, figure in figures.items()]
                parts.append(f'{name}: {order(chosen, results)}')
        elif chosen := [(row, row.paper) for row in rows if row.paper is not None]:
            parts.append(f"The paper's order: {order(chosen, results)}")
    with atomic_path(args.table) as temporary:
        temporary.write_text('\n'.join(parts))


def table(rows: list[Setting], results: Results) -> str:
    """A Markdown table."""
    with_paper = any(row.paper is not None for row in rows)
    metrics = metrics_of(rows[0])
    header = ['', *metrics.values(), 'minutes', *(['K400 linear, paper'] if with_paper else [])]
    lines = [header, ['---'] * len(header)]
    for row in rows:
        found = results[row.slug].values()
        title = row.title if row.baseline else f'[{row.title}](../configs/{row.config})'
        cells = [title]
        for key in metrics:
            values = [r[key] for r in found if key in r]
            measured = row.finetune if key in TUNED_METRICS else row.task or key != 'task'
            cells.append(spread(values) if measured else '')
            if key == 'task' and values:
                cells[-1] += f'; {next(iter(found))["task_chance"]:.1f}'
        minutes = [r['seconds'] / 60 for r in found]
        cells.append(f'{statistics.mean(minutes):.1f}' if minutes else '')
        if with_paper:
            cells.append('–' if row.paper is None else f'{row.paper}')
        lines.append(cells)
    return ''.join(f'| {" | ".join(cells)} |\n' for cells in lines)


def spread(values: list[float]) -> str:
    """Mean ± standard deviation, and each value."""
    if not values:
        return 'not run'
    each = ', '.join(f'{value:.1f}' for value in values)
    deviation = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.1f}{deviation} ({each})'


def order(rows: list[tuple[Setting, float]], results: Results) -> str:
    """Which pairs stand in the papers' order here too, by SVM top-1, and which do not.

    Two rows are compared on the seeds that both have, since seeds differ in their videos. A mean
    difference within its standard error decides nothing.
    """
    rows = sorted((row for row in rows if results[row[0].slug]), key=lambda row: row[1])
    if len(rows) < 2:
        return 'not run.\n'
    verdicts: dict[str, list[str]] = {'reproduced': [], '**not reproduced**': [], 'undecided': []}
    for (low, _), (high, _) in combinations(rows, 2):
        lower, higher = results[low.slug], results[high.slug]
        gains = [higher[s]['svm_top1'] - lower[s]['svm_top1'] for s in lower.keys() & higher.keys()]
        gain = statistics.mean(gains)
        error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float('inf')
        verdict = 'reproduced' if gain > 0 else '**not reproduced**'
        verdicts[verdict if abs(gain) > error else 'undecided'].append(
            f'{low.title} → {high.title} {gain:+.1f} ± {error:.1f}'
        )
    ranked = ' < '.join(f'{row.title} ({figure})' for row, figure in rows)
    found = ''.join(f'- {name}: {"; ".join(pairs) or "none"}\n' for name, pairs in verdicts.items())
    return (
        f'{ranked}. Pairs of this order here, with the gain in SVM top-1 and its standard error '
        f'over the seeds:\n\n{found}'
    )


@one_line_errors
def main() -> None:
    args = parse_args()
    if args.one:
        slug, seed = args.one
        run_one(settings_by_slug(args.videos)[slug], int(seed), args.out, args.amp)
        return
    settings = [
        setting
        for slug, setting in settings_by_slug(args.videos).items()
        if not args.only or any(text in f'{setting.title} {slug}' for text in args.only)
    ]
    if not settings:
        raise UserError(f'--only {" ".join(args.only)}: no row has this in its title or config')
    generate_videos(settings, args.seeds, args.out)
    failed = run_all(args, settings)
    write_tables(args)
    print(f'tables: {args.table}')
    if failed:
        raise UserError(f'{len(failed)} runs failed: {"; ".join(failed)}; see their logs')


if __name__ == '__main__':
    sys.exit(main())
