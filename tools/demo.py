"""From videos without labels to a backbone, and the proof that it learned something.

Run it as `bash tools/demo.sh [VIDEO_DIR]`, which also sets up an environment. The stages, each of
which is skipped if an earlier run has finished it:

1. videos: without VIDEO_DIR a generated set, one third of it labelled and held out;
2. pretraining by configs/vclr/vclr_r18_demo.py, without labels, through tools/train.py;
3. features of the held-out videos: pretrained weights, random weights, raw downscaled pixels;
4. retrieval and a linear SVM on each: metrics.json;
5. report.html.

With VIDEO_DIR the backbone is pretrained on your videos. If the folder has class sub-folders, a
third of each class is held out as queries and the rest is the gallery; else only the loss curves
are reported.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import Progress

from mmssl_video.datasets.synthetic import CLASSES, write_list, write_splits
from mmssl_video.datasets.unlabeled_videos import VIDEO_SUFFIXES
from mmssl_video.errors import UserError, one_line_errors
from mmssl_video.evaluation import FeatureSet
from mmssl_video.evaluation.extract import PixelEncoder, build_encoder, feature_pipeline
from mmssl_video.evaluation.frozen import evaluate_frozen
from mmssl_video.files import write_json
from mmssl_video.visualization.report import Curve, read_scalars, write_report
from mmssl_video.visualization.sheets import retrieval_sheets

ROOT = Path(__file__).resolve().parents[1]
CONFIG = Path('configs/vclr/vclr_r18_demo.py')
NUM_PRETRAIN, NUM_GALLERY, NUM_QUERY = 50, 15, 10  # generated videos per class
console = Console(stderr=True)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'video_dir', nargs='?', help='folder of your own videos, searched recursively'
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=int(os.environ.get('SEED', 0)),
        help='seed of everything: generated videos, splits, weights, training (default $SEED or 0)',
    )
    parser.add_argument(
        '--out',
        default=ROOT / 'work_dirs/demo',
        help="folder of the results (default work_dirs/demo of the project's folder)",
    )
    parser.add_argument('--started', type=float, default=time.time(), help=argparse.SUPPRESS)
    return parser.parse_args()


def shown(path: Path) -> str:
    """A path as one types it in the project's folder."""
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def fingerprint(video_dir: Path) -> str:
    """A name for a folder with what is in it now; other videos make another run."""
    names = sorted(str(path) for path in video_dir.resolve().rglob('*'))
    return f'{video_dir.resolve().name}-{zlib.crc32(chr(10).join(names).encode()):08x}'


class Videos:
    """Where the videos are, and which of them are for what; lists are written to ``folder``."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root.resolve()
        self.pretrain_list, self.gallery_list, self.query_list = (
            folder.resolve() / f'{name}.txt' for name in ('pretrain', 'gallery', 'query')
        )
        self.class_names: list[str] = []

    def write_lists(self, pretrain: list, gallery: list, query: list) -> None:
        """Write the three lists, the first one without labels."""
        self.pretrain_list.parent.mkdir(parents=True, exist_ok=True)
        self.pretrain_list.write_text(''.join(f'{name}\n' for name, _ in pretrain))
        write_list(self.gallery_list, gallery)
        write_list(self.query_list, query)
        self.num_pretrain = len(pretrain)


def generate_videos(out: Path, seed: int) -> Videos:
    """Write the generated set, or what an interrupted run has left of it to be written."""
    root = out / f'videos-seed{seed}'
    total = (NUM_PRETRAIN + NUM_GALLERY + NUM_QUERY) * len(CLASSES)
    with Progress(console=console) as progress:
        task = progress.add_task('Writing videos', total=total)
        splits = write_splits(
            root,
            seed,
            (NUM_PRETRAIN, NUM_GALLERY, NUM_QUERY),
            classes=CLASSES,
            progress=lambda: progress.advance(task),
        )
    videos = Videos(root, root)
    videos.write_lists(*splits)
    videos.class_names = list(CLASSES)
    return videos


def find_videos(video_dir: Path, folder: Path, seed: int) -> Videos:
    """List a user's videos, and hold out queries if they lie in class sub-folders."""
    if not video_dir.is_dir():
        raise UserError(f'{video_dir}: no such folder; give a folder of videos')
    names = sorted(
        str(path.relative_to(video_dir))
        for path in video_dir.rglob('*')
        if path.suffix.lower() in VIDEO_SUFFIXES
    )
    if len(names) < 4:
        raise UserError(
            f'{video_dir}: holds {len(names)} videos ({", ".join(VIDEO_SUFFIXES)}); 4 or more are '
            'needed to contrast them with each other'
        )
    videos = Videos(video_dir, folder)
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(Path(name).parts[0] if len(Path(name).parts) > 1 else '', []).append(name)
    num_gallery = sum(len(group) - len(group) // 3 for group in groups.values())
    if '' in groups or len(groups) < 2 or min(map(len, groups.values())) < 3 or num_gallery < 5:
        console.print('No class sub-folders with 3 videos or more each: no labels are used.')
        videos.write_lists([(name, -1) for name in names], [], [])
        return videos
    gallery, query = [], []
    rng = np.random.default_rng(seed)
    for label, group in enumerate(groups.values()):
        shuffled = [(group[index], label) for index in rng.permutation(len(group))]
        query += shuffled[: len(group) // 3]
        gallery += shuffled[len(group) // 3 :]
    videos.write_lists(gallery, gallery, query)
    videos.class_names = list(groups)
    return videos


def pretrain(videos: Videos, work_dir: Path, seed: int, generated: bool) -> Path:
    """Train through tools/train.py, resuming what an interrupted run has left."""
    cfg = Config.fromfile(ROOT / CONFIG)
    options = {
        'train_dataloader.dataset.ann_file': str(videos.pretrain_list),
        'train_dataloader.dataset.data_prefix.video': str(videos.root),
    }
    epochs = cfg.train_cfg.max_epochs
    if not generated:
        # As many videos seen in all as with the generated set; batch and queues small enough
        # that a video seldom meets itself among its negatives.
        epochs = max(3, round(epochs * NUM_PRETRAIN * len(CLASSES) / videos.num_pretrain))
        batch = max(2, min(cfg.train_dataloader.batch_size, videos.num_pretrain // 4))
        queue = max(batch, min(cfg.model.heads.video.queue_size, videos.num_pretrain // 2))
        options |= {
            'train_cfg.max_epochs': epochs,
            'default_hooks.checkpoint.interval': max(1, epochs // 20),
            'param_scheduler.1.end': epochs,
            'train_dataloader.batch_size': batch,
            'model.heads.inter.queue_size': queue,
            'model.heads.video.queue_size': queue,
            'train_dataloader.dataset.bad_videos': 'skip',
        }
    checkpoint = work_dir / f'epoch_{epochs}.pth'
    if checkpoint.exists():
        return checkpoint
    # A config file, since --cfg-options cannot take a path with a space or a comma.
    cfg.merge_from_dict(options)
    config = work_dir / 'settings' / CONFIG.name
    config.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(config)
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(config.resolve()), '--resume']
    command += ['--work-dir', str(work_dir.resolve()), '--seed', str(seed)]
    console.print(
        f'Pretraining on {videos.num_pretrain} videos; log: {shown(work_dir / "train.log")}'
    )
    with (work_dir / 'train.log').open('a') as log:
        try:
            status = subprocess.run(command, stdout=log, cwd=ROOT).returncode
        except KeyboardInterrupt:
            console.print('Interrupted: the same command goes on from the last checkpoint.')
            raise
    if status:
        raise UserError(
            f'pretraining ended with status {status}; see {shown(work_dir / "train.log")}'
        )
    return checkpoint


def evaluate(videos: Videos, checkpoint: Path, seed: int) -> tuple[dict, list]:
    """Compare the features; percentages, and sheets of the pretrained backbone's retrieval."""
    cfg = Config.fromfile(ROOT / CONFIG)
    pipeline = feature_pipeline(cfg)
    encoders = {
        'pretrained': build_encoder(cfg, str(checkpoint)),
        'random': build_encoder(cfg, None, seed),
        'pixels': PixelEncoder(cfg.model.data_preprocessor),
    }
    results = {
        name: evaluate_frozen(
            encoder,
            pipeline,
            videos.gallery_list,
            videos.query_list,
            videos.root,
            description=name,
            skip_bad=True,
        )
        for name, encoder in encoders.items()
    }
    best = results['pretrained']
    sheets = make_sheets(videos, best.gallery, best.query, best.found)
    metrics = {name: result.metrics for name, result in results.items()}
    return {**metrics, 'chance': best.chance}, sheets


def make_sheets(videos: Videos, gallery: FeatureSet, query: FeatureSet, found) -> list:
    """Pictures of what some queries have found."""
    return retrieval_sheets(
        gallery,
        query,
        found.indices,
        found.similarities,
        gallery_root=videos.root,
        query_root=videos.root,
        class_names=videos.class_names,
    )


def loss_curves(work_dir: Path) -> dict[str, Curve]:
    """The logged loss of each objective, with its level at chance."""
    scalars = read_scalars(work_dir)
    # MMEngine leaves the config of the run, with its overrides, beside the log.
    cfg = Config.fromfile(work_dir / CONFIG.name)
    return {
        name: Curve(
            *scalars[f'loss_{name}'],
            head.chance_level(cfg.train_dataloader.batch_size) * head.loss_weight,
            head.describe(),
        )
        for name, head in MODELS.build(cfg.model).heads.items()
    }


def next_commands(videos: Videos, checkpoint: Path) -> list[tuple[str, str]]:
    """What to do with the checkpoint, as commands that can be pasted."""
    config, root = CONFIG, shown(videos.root)
    commands = []
    if Path(sys.prefix) == ROOT / '.venv':
        commands.append(('Use the environment of this run', 'source .venv/bin/activate'))
    commands += [
        ('Pretrain on your own videos', 'bash tools/demo.sh VIDEO_DIR'),
        (
            'Pretrain with settings of your own, on 1 GPU or CPU, or on 8 GPUs',
            f'python tools/train.py {config} --cfg-options '
            'train_dataloader.dataset.data_prefix.video=VIDEO_DIR\n'
            'bash tools/dist_train.sh configs/vclr/vclr_r50_8x64-3seg-400e_kinetics400-rgb.py 8',
        ),
    ]
    lists = {'gallery': videos.gallery_list, 'query': videos.query_list}
    for split, ann_file in lists.items() if videos.class_names else ():
        commands.append(
            (
                f'Features of the {split} videos',
                f'python tools/extract_features.py {config} {shown(checkpoint)} {split}.npz '
                f'--ann-file {shown(ann_file)} --data-root {root}',
            )
        )
    if videos.class_names:
        commands += [
            ('Linear SVM', 'python tools/linear_svm.py gallery.npz query.npz --out svm.json'),
            ('Retrieval', 'python tools/retrieval.py gallery.npz query.npz --out retrieval.json'),
        ]
    return commands


@one_line_errors
def main() -> None:
    args = parse_args()
    init_default_scope('mmaction')
    out = Path(args.out)
    if args.video_dir:
        video_dir = Path(args.video_dir)
        work_dir = out / f'pretrain-{fingerprint(video_dir)}-seed{args.seed}'
        videos = find_videos(video_dir, work_dir, args.seed)
    else:
        work_dir = out / f'pretrain-seed{args.seed}'
        videos = generate_videos(out, args.seed)
    checkpoint = pretrain(videos, work_dir, args.seed, generated=not args.video_dir)
    metrics, sheets = evaluate(videos, checkpoint, args.seed) if videos.class_names else ({}, [])
    metrics |= {'seed': args.seed, 'seconds': round(time.time() - args.started)}
    write_json(out / 'metrics.json', metrics)
    write_report(
        out / 'report.html',
        title='VCLR demo',
        summary=f'VCLR (ResNet-18) pretrained without labels on {videos.num_pretrain} videos'
        + (' of your own.' if args.video_dir else ', generated for this run.'),
        metrics=metrics if videos.class_names else None,
        curves=loss_curves(work_dir),
        sheets=sheets,
        commands=next_commands(videos, checkpoint),
        facts={
            'Videos': shown(videos.root),
            'Config': CONFIG,
            'Checkpoint': shown(checkpoint),
            'Seed': args.seed,
            'Seconds': metrics['seconds'],
        },
    )
    print(json.dumps(metrics, indent=2))
    print(f'report: {shown(out / "report.html")}')


if __name__ == '__main__':
    sys.exit(main())
