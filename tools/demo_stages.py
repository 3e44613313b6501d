"""The stages of tools/demo.py: videos, pretraining, evaluation, pictures, report."""

import argparse
import contextlib
import glob
import importlib.util
import json
import os
import shlex
import sys
import time
import zlib
from copy import deepcopy
from pathlib import Path

import numpy as np
from command_line import Children
from mmaction.evaluation import average_recall_at_avg_proposals
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import Progress
from torch import nn

from mmssl_video.checkpoints.work_dir import POINTER
from mmssl_video.compat.torch import has_3d
from mmssl_video.config_check import load_config
from mmssl_video.datasets.collection import write_list
from mmssl_video.datasets.folder_split import FolderSplit, split_folder
from mmssl_video.datasets.subset import draw_subset
from mmssl_video.engine.hooks import read_messages
from mmssl_video.errors import UserError
from mmssl_video.evaluation import FeatureSet, linear_probe
from mmssl_video.evaluation.bmn_features import extract_bmn_features
from mmssl_video.evaluation.encoder import build_encoder
from mmssl_video.evaluation.finetuning import finetune_config, is_transformer
from mmssl_video.evaluation.frozen import FrozenResult, evaluate_frozen
from mmssl_video.evaluation.linear_probe import NUM_FOLDS
from mmssl_video.evaluation.loader import feature_pipeline
from mmssl_video.evaluation.trivial import frame_difference, mean_frame
from mmssl_video.files import make_folder, write_json
from mmssl_video.generated.scenes import CLASSES, write_splits
from mmssl_video.generated.untrimmed import write_untrimmed
from mmssl_video.models.precision import is_bfloat16_fast
from mmssl_video.visualization.browse import build_dataset, read_sample, save_picture
from mmssl_video.visualization.feature_map import feature_map, save_feature_maps
from mmssl_video.visualization.grad_cam import grad_cam_sheet, look_at_video
from mmssl_video.visualization.proposals import (
    film_strip,
    locate_videos,
    read_proposals,
    save_proposals,
)
from mmssl_video.visualization.reconstructions import (
    ROWS,
    build_model,
    masked_head,
    reconstruct,
)
from mmssl_video.visualization.report import (
    FEATURES,
    METRICS,
    Curve,
    Picture,
    read_scalars,
    write_report,
)
from mmssl_video.visualization.sheets import retrieval_sheets

ROOT = Path(__file__).resolve().parents[1]
CONFIG = Path('configs/vclr/vclr_r18_demo.py')
FOLDER_CONFIG = Path('configs/cvrl/cvrl_r3d-r18_1x32-12x2x2-40e_folder-rgbdiff.py')
LARGE = Path('configs/vclr/vclr_r50_8x64-3seg-400e_kinetics400-rgb.py')
FINETUNE = Path('configs/downstream/finetune/tsn_r18_1x8-1x1x3-20e_generated-rgb.py')
FINETUNE_VIT = Path('configs/downstream/finetune/videomae_vit-t_1x8-8x2x1-20e_generated-rgb.py')
BMN = Path('configs/downstream/localization/bmn_tsn-r18_1x4-512x100-20e_generated-feature.py')
FINETUNE_ALL = Path('finetune/finetune_all.py')  # in the work directory, for the next commands
NUM_PRETRAIN, NUM_GALLERY, NUM_QUERY = 50, 15, 10  # generated videos per class
PROBE_COSTS = (1, 10, 100, 1000)  # one is chosen by cross-validation
NUM_LABELS = 5  # videos per class to fine-tune with
NUM_UNTRIMMED = dict(train=40, val=20)
BASELINES = {
    'random': 'The same network with random weights',
    'mean_frame': 'The mean frame, with no learning,',
    'frame_difference': 'The frame difference, with no learning,',
}
FAR_ABOVE = 25  # points of R@1 above chance; in most sets, colours alone give less
GUIDE = 'docs/choosing.md'
console = Console(stderr=True)


def tell(text: str) -> None:
    """Print a sentence unchanged; names of files may look like markup."""
    console.print(text, markup=False, highlight=False)


def shown(path: Path) -> str:
    """Return a path relative to the project's folder, if it is in there."""
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def pasted(path: Path) -> str:
    """Return a path as a command to paste has it."""
    return shlex.quote(shown(path))


class Videos:
    """Folder of the videos, and the lists for each purpose, which are written to ``folder``."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root.resolve()
        self.pretrain_list, self.gallery_list, self.query_list = (
            folder.resolve() / f'{name}.txt' for name in ('pretrain', 'gallery', 'query')
        )
        self.class_names: list[str] = []
        self.notes: list[str] = []

    def write_lists(self, pretrain: list, gallery: list, query: list) -> None:
        """Write the three lists, the first one without labels."""
        self.pretrain_list.parent.mkdir(parents=True, exist_ok=True)
        self.pretrain_list.write_text(''.join(f'{name}\n' for name, _ in pretrain))
        write_list(self.gallery_list, gallery)
        write_list(self.query_list, query)
        self.num_pretrain = len(pretrain)


def generate_videos(out: Path, seed: int) -> Videos:
    """Write the generated set, or the videos that an interrupted run has not written."""
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


def load_recipe(path: Path) -> Config:
    """Load a pretraining config without its removed heads; check that the stages can use it."""
    cfg = load_config(path)
    if 'heads' not in cfg.get('model', {}):
        raise UserError(f'{path}: model.heads is missing; give a config of pretraining')
    cfg.model.heads = {name: head for name, head in cfg.model.heads.items() if head is not None}
    feature_pipeline(cfg)
    return cfg


def is_own(cfg: Config) -> bool:
    """Whether the recipe is the demo's own."""
    return Path(cfg.filename).resolve() == (ROOT / CONFIG).resolve()


def sees_clips(cfg: Config) -> bool:
    """Whether the backbone takes clips (3D), not frames."""
    return cfg.model.data_preprocessor.format_shape == 'NCTHW'


def precision_of(config: Path) -> str:
    """Return the precision of a training, from the config in its work directory."""
    wrapper = Config.fromfile(config).optim_wrapper.get('type', 'OptimWrapper')
    return {'OptimWrapper': 'float32', 'Bf16OptimWrapper': 'bfloat16'}.get(wrapper, wrapper)


def find_videos(video_dir: Path, out: Path, seed: int, cfg: Config) -> tuple[Videos, Path]:
    """List a user's videos, fit the recipe to them, and choose the work directory."""
    split = split_folder(video_dir, seed)
    for note in split.notes:
        tell(note)
    fit_recipe(cfg, len(split.train))
    work_dir = choose_run(split, video_dir.resolve(), out, seed, cfg)
    videos = Videos(video_dir, work_dir)
    videos.write_lists(split.train, split.train if split.query else [], split.query)
    videos.class_names, videos.notes = split.class_names, split.notes
    return videos, work_dir


def choose_run(split: FolderSplit, video_dir: Path, out: Path, seed: int, cfg: Config) -> Path:
    """Return the work directory for these videos; say if an earlier run used other videos."""
    folder = f'{run_name(cfg)}-{video_dir.name}-{checksum(str(video_dir))}'
    settings = checksum(repr((split.train, split.query, cfg.to_dict())))
    work_dir = out / f'{folder}-{settings}-seed{seed}'
    earlier = sorted(out.glob(f'{glob.escape(folder)}-*-seed{seed}'), key=os.path.getmtime)
    if earlier and work_dir not in earlier:
        tell(
            f'Videos of {video_dir} have been added, removed or renamed, or its lists or the '
            f'recipe changed, since the run in {shown(earlier[-1])}: a new run starts.'
        )
    return work_dir


def run_name(cfg: Config) -> str:
    """Return the prefix of the work directories of a recipe."""
    return 'pretrain' if is_own(cfg) else Path(cfg.filename).stem


def checksum(text: str) -> str:
    """Return a short name that changes with the text."""
    return f'{zlib.crc32(text.encode(errors="surrogateescape")):08x}'


def pretrain(videos: Videos, work_dir: Path, seed: int, cfg: Config) -> Path:
    """Train through tools/train.py, and resume an interrupted run."""
    dataset = cfg.train_dataloader.dataset
    dataset.ann_file = str(videos.pretrain_list)
    dataset.data_prefix = dict(video=str(videos.root))
    if not any(hook['type'] == 'ProgressBarHook' for hook in cfg.custom_hooks):
        cfg.custom_hooks.append(dict(type='ProgressBarHook'))
    name = Path(cfg.filename).name
    train(cfg, name, work_dir, seed, f'Pretraining on {videos.num_pretrain} videos')
    return work_dir / f'epoch_{cfg.train_cfg.max_epochs}.pth'


def fit_recipe(cfg: Config, num_videos: int) -> None:
    """Fit the recipe to the number of videos.

    A batch is small enough to differ from the next, and the queues keep their number of batches.
    The demo's own recipe sees as many videos in total as with the generated set.
    """
    if is_own(cfg):
        num_generated = NUM_PRETRAIN * len(CLASSES)
        set_epochs(cfg, max(3, round(cfg.train_cfg.max_epochs * num_generated / num_videos)))
    cfg.default_hooks.checkpoint.interval = max(1, cfg.train_cfg.max_epochs // 20)
    loader = cfg.train_dataloader
    batch = max(2, min(loader.batch_size, num_videos // 4))
    for head in cfg.model.heads.values():
        if 'queue_size' in head:
            head.queue_size = head.queue_size * batch // loader.batch_size
    loader.batch_size = batch
    loader.dataset.bad_videos = 'skip'


def set_epochs(cfg: Config, epochs: int) -> None:
    """Change the length of a run, and scale its schedules in proportion."""

    def scaled(count: int) -> int:
        return max(1, round(count * epochs / cfg.train_cfg.max_epochs)) if count else 0

    for schedule in cfg.param_scheduler:
        if schedule.get('by_epoch', True):
            for key in {'begin', 'end', 'warmup', 'T_max', 'step_size'} & schedule.keys():
                schedule[key] = scaled(schedule[key])
            if 'milestones' in schedule:
                schedule.milestones = [scaled(count) for count in schedule.milestones]
    cfg.train_cfg.max_epochs = epochs


def train(
    cfg: Config, name: str, work_dir: Path, seed: int, what: str, metric: str | None = None
) -> None:
    """Run tools/train.py, unless an earlier run has reached the last epoch and logged the metric.

    The metric is that of a validation after the last epoch. The precision is bfloat16 where that is
    faster.
    """
    last = work_dir / f'epoch_{cfg.train_cfg.max_epochs}.pth'
    if last.exists():
        if metric is None or metric in read_scalars(work_dir):
            return
        # It was saved before the validation, which a run resumed from it would leave out.
        last.unlink()
        (work_dir / POINTER).unlink(missing_ok=True)
    # A config file, since --cfg-options cannot take a path with a space or a comma.
    config = work_dir / 'settings' / name
    config.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(config)
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(config.resolve()), '--resume']
    command += ['--work-dir', str(work_dir.resolve()), '--seed', str(seed)]
    weights = MODELS.build(cfg.model).parameters()
    has_precision = cfg.optim_wrapper.get('type', 'OptimWrapper') != 'OptimWrapper'
    if not has_precision and is_bfloat16_fast(has_3d(weights)):
        command.append('--amp')
    log_file = work_dir / 'train.log'
    console.print(f'{what}; log: {shown(log_file)}')
    with log_file.open('a') as log, Children() as children:
        try:
            status = children.run(command, stdout=log, cwd=ROOT)
        except KeyboardInterrupt:
            console.print('Interrupted: the same command continues from the last checkpoint.')
            raise
    if status:
        raise UserError(f'training ended with status {status}; see {shown(log_file)}')


def evaluate(videos: Videos, encoders: dict, cfg: Config) -> tuple[dict, dict[str, FrozenResult]]:
    """Evaluate all features, including the trivial ones; return percentages and results."""
    pipeline = feature_pipeline(cfg)
    judged = {name: (encoder, pipeline) for name, encoder in encoders.items()}
    for name, encoder in (('mean_frame', mean_frame()), ('frame_difference', frame_difference())):
        judged[name] = encoder, encoder.pipeline
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
        for name, (encoder, pipeline) in judged.items()
    }
    metrics = {}
    for name, result in results.items():
        sizes = sorted(np.unique(result.gallery.labels, return_counts=True)[1])
        # Without any fold, two classes must be left.
        enough = sizes[-1] >= NUM_FOLDS and sizes[-2] > 1
        costs = PROBE_COSTS if enough else PROBE_COSTS[0]
        if name not in encoders:  # the best cost of trivial features, which takes long to find
            costs = PROBE_COSTS[-1]
        probe = linear_probe(result.gallery, result.query, costs)
        metrics[name] = result.metrics | {'probe_top1': probe['top1']}
        metrics['chance'] = result.chance | {'probe_top1': probe['chance']}
    return metrics, results


def compare(metrics: dict[str, dict[str, float]]) -> list[str]:
    """Say which baselines are as good as pretraining, and if the mean frame is far above chance."""
    sentences = []
    learned = metrics['pretrained']
    for name, words in BASELINES.items():
        as_good = [
            f'{METRICS[key][0]} {metrics[name][key]:.1f} (pretrained {learned[key]:.1f})'
            for key in ('R@1', 'svm_top1', 'probe_top1')
            if metrics[name][key] >= learned[key]
        ]
        if as_good:
            sentences.append(f'{words} does as well or better: {", ".join(as_good)}; see {GUIDE}.')
    found, chance = metrics['mean_frame']['R@1'], metrics['chance']['R@1']
    if found > chance + FAR_ABOVE:
        sentences.append(
            f'The mean frame alone has a retrieval R@1 of {found:.1f} (chance {chance:.1f}): '
            'either backgrounds and colours reveal the classes, or clips of one source are on both '
            'sides. R@1 then says little about what was learned.'
        )
    return sentences


def finetune(
    videos: Videos,
    readable: FrozenResult,
    checkpoint: Path,
    work_dir: Path,
    seed: int,
    base: Config,
) -> dict[str, float]:
    """Train the whole network with a few labels; return top-1 on the queries for each start."""
    gallery, query = (
        # The user's file names may contain spaces, but hardly a tab.
        [f'{name}\t{label}' for name, label in zip(each.names, each.labels, strict=True)]
        for each in (readable.gallery, readable.query)
    )
    num_labels = min(NUM_LABELS, *np.unique(readable.gallery.labels, return_counts=True)[1])
    few = [gallery[row] for row in draw_subset(gallery, per_class=num_labels, seed=seed)]
    folder = work_dir.resolve() / 'finetune'
    folder.mkdir(exist_ok=True)
    for name, lines in (('train', few), ('all', gallery), ('test', query)):
        (folder / f'{name}.txt').write_text(''.join(f'{line}\n' for line in lines))
    top1 = {}
    for name, start in (('pretrained', str(checkpoint.resolve())), ('random', None)):
        cfg = deepcopy(base)
        cfg.val_dataloader = cfg.test_dataloader
        for part in ('train', 'test', 'val'):
            data = cfg[f'{part}_dataloader'].dataset
            data.ann_file = str(folder / ('train.txt' if part == 'train' else 'test.txt'))
            data.data_prefix.video = str(videos.root)
            data.delimiter = '\t'
        cfg.model.cls_head.num_classes = len(videos.class_names)
        # With many classes, no more videos are seen in total than with the generated set.
        epochs = cfg.train_cfg.max_epochs
        set_epochs(cfg, min(epochs, max(1, epochs * NUM_LABELS * len(CLASSES) // len(few))))
        cfg.train_cfg.val_interval = cfg.train_cfg.max_epochs
        cfg.load_from = start
        cfg.custom_hooks.append(dict(type='ProgressBarHook', description='Fine-tuning'))
        what = f'Fine-tuning from {name} weights with {num_labels} labels a class'
        train(cfg, 'finetune.py', folder / name, seed, what, 'acc/top1')
        if start:
            cfg.train_dataloader.dataset.ann_file = str(folder / 'all.txt')
            cfg.dump(work_dir / FINETUNE_ALL)
        top1[name] = round(100 * float(read_scalars(folder / name)['acc/top1'][1][-1]), 2)
    return top1


def localize(out: Path, encoders: dict, work_dir: Path, seed: int) -> tuple[dict, Picture]:
    """Train BMN on features of untrimmed videos; return the AUCs, with chance, and a picture."""
    root = out / f'untrimmed-seed{seed}'
    with Progress(console=console) as progress:
        task = progress.add_task('Writing untrimmed videos', total=sum(NUM_UNTRIMMED.values()))
        annotations = write_untrimmed(
            root, NUM_UNTRIMMED, seed, progress=lambda: progress.advance(task)
        )
    auc = {'chance': chance_auc(annotations[1], seed)}
    for name in ('pretrained', 'random'):
        cfg = Config.fromfile(ROOT / BMN)
        features = work_dir.resolve() / f'bmn-features-{name}'
        extract_bmn_features(
            Config.fromfile(ROOT / CONFIG),
            encoders[name],
            [str(path) for path in annotations],
            str(root / 'videos'),
            str(features),
            interval=cfg.model.feature_extraction_interval,
        )
        for part in ('train', 'val', 'test'):
            data = cfg[f'{part}_dataloader'].dataset
            data.ann_file = str(features / annotations[part != 'train'].name)
            data.data_prefix.video = str(features / 'csv')
        cfg.custom_hooks.append(dict(type='ProgressBarHook', description='BMN'))
        run = work_dir / f'bmn-{name}'
        train(cfg, BMN.name, run, seed, f'BMN on features of {name} weights', 'auc')
        auc[name] = round(float(read_scalars(run)['auc'][1][-1]), 2)
    found = read_proposals(work_dir / 'bmn-pretrained/results.json', annotations[1], num_videos=3)
    paths = locate_videos(root / 'videos', [video.name for video in found])
    for video, path in zip(found, paths, strict=True):
        video.frames = film_strip(path)
    save_proposals(work_dir / 'proposals.png', found)
    text = 'Untrimmed test videos, the intervals that hold an action, and what BMN proposes.'
    return auc, Picture('Actions in long videos', text, work_dir / 'proposals.png')


def chance_auc(annotation: Path, seed: int) -> float:
    """Return the AUC of 100 random intervals per video, in percent."""
    rng = np.random.default_rng(seed)
    truth, proposals = {}, {}
    for name, video in json.loads(annotation.read_text()).items():
        truth[name] = np.array([each['segment'] for each in video['annotations']])
        intervals = np.sort(rng.uniform(0, video['duration_second'], (100, 2)))
        proposals[name] = np.column_stack([intervals, rng.random(100)])
    *_, auc = average_recall_at_avg_proposals(truth, proposals, 100 * len(truth))
    return round(float(auc), 2)


def draw(
    videos: Videos,
    encoder: nn.Module,
    results: dict[str, FrozenResult],
    work_dir: Path,
    cfg: Config,
) -> list[Picture]:
    """Draw Grad-CAM pictures and maps of the features."""
    if results:
        names = results['pretrained'].query.names
    else:
        names = videos.pretrain_list.read_text().splitlines()
    pipeline = feature_pipeline(cfg, num_frames=8)
    rows, pictures = [], []
    for number in np.linspace(0, len(names) - 1, 4).round().astype(int):
        # Without labels, the video may be one that pretraining could not read either.
        with contextlib.suppress(UserError):
            rows.append(look_at_video(encoder, pipeline, videos.root / names[number], 'similarity'))
    if rows:
        path = work_dir / 'grad_cam.png'
        grad_cam_sheet(path, rows, 'Grad-CAM of the pretrained backbone')
        text = 'Grad-CAM: the regions that make a frame similar to the frame half the video away.'
        pictures.append(Picture('What it looks at', text, path))
    if results:
        maps = {}
        for name in ('pretrained', 'random'):
            sets = results[name].gallery, results[name].query
            columns = (
                np.concatenate([getattr(each, key) for each in sets])
                for key in ('features', 'labels', 'names')
            )
            maps[FEATURES[name]] = feature_map(FeatureSet(*columns), seed=0)
        path = work_dir / 'feature_map.png'
        save_feature_maps(path, list(maps.values()), list(maps), videos.class_names)
        pictures.append(
            Picture(
                'Map of the features',
                'Each point is a video (t-SNE) in the colour of its class, which pretraining does '
                'not see.',
                path,
            )
        )
    return pictures


def draw_reconstructions(cfg: Config, checkpoint: Path, work_dir: Path, seed: int) -> Picture:
    """Draw the predictions of the masked head for four training videos."""
    model, dataset = build_model(cfg, str(checkpoint)), build_dataset(cfg)
    numbers = np.linspace(0, len(dataset) - 1, 4).round().astype(int).tolist()
    samples = [reconstruct(model, read_sample(dataset, n, seed), seed + n) for n in numbers]
    path = work_dir / 'reconstructions.png'
    save_picture(path, samples, ROWS)
    text = (
        'The visible tokens of a clip, the prediction of the hidden tokens, and the clip. The '
        'third row has the true mean and contrast of each token. It looks better than it is, '
        'because these alone show a coarse picture.'
    )
    return Picture('Predicted tokens', text, path)


def loss_curves(work_dir: Path, heads: nn.ModuleDict, batch_size: int) -> dict[str, Curve]:
    """Return the logged loss of each objective, with its chance level."""
    scalars = read_scalars(work_dir)
    return {
        name: Curve(
            *scalars[f'loss_{name}'],
            head.chance_level(batch_size) * head.loss_weight,
            head.describe(),
        )
        for name, head in heads.items()
    }


def next_commands(videos: Videos, checkpoint: Path, cfg: Config) -> list[tuple[str, str]]:
    """Return the next steps with the checkpoint, as commands to paste."""
    config, root, weights = map(pasted, (Path(cfg.filename), videos.root, checkpoint))
    # The recipe with the videos of this run; --cfg-options cannot take every path.
    settings = pasted(checkpoint.parent / 'settings' / Path(cfg.filename).name)
    by_recipe = '' if is_own(cfg) else f' --config {config}'
    commands = []
    if Path(sys.prefix) == ROOT / '.venv':
        commands.append(('Use the environment of this run', 'source .venv/bin/activate'))
    commands += [
        ('Pretrain on your own videos', f'bash tools/demo.sh VIDEO_DIR{by_recipe}'),
        (
            'Pretrain with settings of your own, on 1 GPU or CPU, or on 8 GPUs',
            f'python tools/train.py {config} --cfg-options '
            'train_dataloader.dataset.data_prefix.video=VIDEO_DIR\n'
            f'bash tools/dist_train.sh {LARGE if is_own(cfg) else config} 8',
        ),
    ]
    lists = {'gallery': videos.gallery_list, 'query': videos.query_list}
    for split, ann_file in lists.items() if videos.class_names else ():
        commands.append(
            (
                f'Features of the {split} videos',
                f'python tools/extract_features.py {config} {weights} {split}.npz '
                f'--ann-file {pasted(ann_file)} --data-root {root}',
            )
        )
    if videos.class_names:
        commands += [
            ('Linear SVM', 'python tools/linear_svm.py gallery.npz query.npz --out svm.json'),
            (
                'Retrieval',
                'python tools/retrieval.py gallery.npz query.npz --out retrieval.json \\\n'
                f'    --visualize retrieval.png --gallery-root {root} --query-root {root}',
            ),
            (
                'Fine-tune with all labels of the gallery',
                f'python tools/train.py {pasted(checkpoint.parent / FINETUNE_ALL)}',
            ),
        ]
    if any(head['type'] == 'VideoMAEHead' for head in cfg.model.heads.values()):
        commands.append(
            (
                'See the predictions of hidden tokens',
                f'python tools/reconstructions.py {settings} {weights} --out reconstructions.png',
            )
        )
    commands += [
        (
            'See what the network looks at, and its input',
            f'python tools/grad_cam.py {config} {weights} VIDEO --out grad_cam.png\n'
            f'python tools/browse_dataset.py {settings} --out views.png',
        ),
        (
            'Export only the backbone',
            f'python tools/export_backbone.py {weights} backbone.pth',
        ),
    ]
    return commands


def run(args: argparse.Namespace) -> None:
    """Run all stages that are not done yet, and write the report.

    Args:
        args: Arguments of tools/demo.py.
    """
    if importlib.util.find_spec('captum') is None:
        raise UserError("Grad-CAM needs captum: pip install 'mmssl_video[look]'")
    init_default_scope('mmaction')
    default = ROOT / (FOLDER_CONFIG if args.video_dir else CONFIG)
    out, cfg = Path(args.out), load_recipe(Path(args.config or default))
    make_folder(out)
    if args.video_dir:
        videos, work_dir = find_videos(Path(args.video_dir), out, args.seed, cfg)
    else:
        work_dir = out / f'{run_name(cfg)}-{checksum(repr(cfg.to_dict()))}-seed{args.seed}'
        videos = generate_videos(out, args.seed)
    checkpoint = pretrain(videos, work_dir, args.seed, cfg)
    encoders = {
        'pretrained': build_encoder(cfg, str(checkpoint)),
        'random': build_encoder(cfg, None, args.seed),
    }
    told = read_messages(work_dir)
    metrics, results, sheets, warnings = {}, {}, [], told.warnings
    if videos.class_names:
        metrics, results = evaluate(videos, encoders, cfg)
        warnings += compare(metrics)
        best = results['pretrained']
        sheets = retrieval_sheets(
            best.gallery,
            best.query,
            best.found.indices,
            best.found.similarities,
            gallery_root=videos.root,
            query_root=videos.root,
            class_names=videos.class_names,
        )
        base = Config.fromfile(ROOT / (FINETUNE_VIT if is_transformer(cfg) else FINETUNE))
        if not is_own(cfg):
            base = finetune_config(base, cfg, encoders['pretrained'])
        for name, top1 in finetune(videos, best, checkpoint, work_dir, args.seed, base).items():
            metrics[name]['finetune_top1'] = top1
        metrics['chance']['finetune_top1'] = metrics['chance']['probe_top1']
    pictures = draw(videos, encoders['pretrained'], results, work_dir, cfg)
    if masked_head(encoders['pretrained']) is not None:
        pictures.append(draw_reconstructions(cfg, checkpoint, work_dir, args.seed))
    if is_own(cfg) and not args.video_dir:
        auc, picture = localize(out, encoders, work_dir, args.seed)
        for name, area in auc.items():
            metrics[name]['proposal_auc'] = area
        pictures.append(picture)
    metrics |= {'seed': args.seed, 'seconds': round(time.time() - args.started)}
    write_json(out / 'metrics.json', metrics)
    name = 'VCLR' if is_own(cfg) else Path(cfg.filename).stem
    loader = cfg.train_dataloader
    write_report(
        out / 'report.html',
        title=f'{name} demo',
        summary=' '.join(
            [
                f'{name} pretrained without labels on {videos.num_pretrain} videos'
                + (' of your own.' if args.video_dir else ', generated for this run.'),
                *videos.notes,
            ]
        ),
        warnings=warnings,
        metrics=metrics if videos.class_names else None,
        curves=loss_curves(work_dir, encoders['pretrained'].heads, loader.batch_size),
        notes=told.notes,
        sheets=sheets,
        pictures=pictures,
        commands=next_commands(videos, checkpoint, cfg),
        facts={
            'Videos': shown(videos.root),
            'Config': shown(Path(cfg.filename)),
            'Checkpoint': shown(checkpoint),
            'Seed': args.seed,
            'Precision': precision_of(work_dir / Path(cfg.filename).name),
            'Seconds': metrics['seconds'],
        },
    )
    print(json.dumps(metrics, indent=2))
    for warning in warnings:
        tell(warning)
    print(f'report: {shown(out / "report.html")}')
