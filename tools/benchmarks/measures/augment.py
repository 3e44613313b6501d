"""Augmentation: chains and operations of this package and of other libraries."""

import argparse
import multiprocessing
import random
import time
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Event
from pathlib import Path

import cv2
import numpy as np
import torch
from mmaction.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table

from mmssl_video.datasets.transforms import (
    ClipColorJitter,
    ClipGaussianBlur,
    ClipGrayscale,
    SharedAugment,
)
from mmssl_video.datasets.transforms.photometric import LUMA

from .timing import summary, take_turns, with_spread, write_figures

CONFIGS = Path(__file__).parents[3] / 'configs'
# Recipe, and views x segments x frames of a sample.
CHAINS = {
    'VCLR': ('vclr/vclr_r50_8x64-3seg-400e_ucf101-rgb.py', (3, 3, 1)),
    'CVRL': ('cvrl/cvrl_r3d50_64x16-16x2x2-800e_kinetics400-rgb.py', (2, 1, 16)),
    'rho-MoCo': ('rho_moco/rho-moco_slowonly-r50_8x8-8x8x4-200e_kinetics400-rgb.py', (4, 1, 8)),
}
OPERATIONS = {
    'crop and resize': ('RandomResizedCrop', 'Resize'),
    'flip': ('Flip',),
    'jitter': ('ClipColorJitter',),
    'grey': ('ClipGrayscale',),
    'blur': ('ClipGaussianBlur',),
}
OURS, BASELINE = 'this package', 'stacked float32'
SIDE = 224


# -- The same draws in float32, on stacked frames --------------------------------------------


class StackedJitter(ClipColorJitter):
    """Jitter all frames at once, with a rounding to 8 bits after each operation."""

    def transform(self, results: dict) -> dict:
        """Jitter the frames as rows of one tall image."""
        draw = self.draw()
        if (draw[:4] == [1, 1, 1, 0]).all():
            return results
        num, height = len(results['imgs']), len(results['imgs'][0])
        tall = np.concatenate(results['imgs'])
        for operation in draw[4:].astype(int):
            value = draw[operation]
            if operation == 0:
                tall = cv2.convertScaleAbs(tall, alpha=value)
            elif operation == 1:
                frames = tall.reshape(num, height, -1, 3)
                means = np.float32([cv2.mean(frame)[:3] for frame in frames]) @ np.float32(LUMA)
                tall = _blend(tall, np.repeat(means, height)[:, None, None], value)
            elif operation == 2:
                grey = cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
                tall = _blend(tall, grey, value)
            elif value:
                hsv = cv2.cvtColor(tall, cv2.COLOR_RGB2HSV)
                hsv[..., 0] = (hsv[..., 0].astype(np.int16) + int(value)) % 180
                tall = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        results['imgs'] = list(tall.reshape(num, height, *tall.shape[1:]))
        return results


def _blend(img: np.ndarray, base: np.ndarray, factor: float) -> np.ndarray:
    mixed = img * np.float32(factor) + base * np.float32(1 - factor)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


class StackedBlur(ClipGaussianBlur):
    """Blur with OpenCV's function for 8 bits."""

    def transform(self, results: dict) -> dict:
        """Blur the frames."""
        (sigma,) = self.draw()
        if sigma:
            results['imgs'] = [cv2.GaussianBlur(img, (0, 0), sigma) for img in results['imgs']]
        return results


STACKED = {
    'ClipColorJitter': StackedJitter,
    'ClipGaussianBlur': StackedBlur,
    'ClipGrayscale': ClipGrayscale,
}


# -- Contenders: functions of the groups of frames that share a draw -------------------------

Groups = list[list[np.ndarray]]
Augment = Callable[[Groups], Sequence]


def make_own(steps: list[dict], photometric: str = 'worker') -> Augment:
    """Transforms of this package and of MMAction2, with one draw for each group."""
    augment = SharedAugment('clip', steps, photometric)
    return lambda groups: augment(sample_of(groups))['imgs']


def make_stacked(steps: list[dict]) -> Augment:
    built = [
        STACKED[one['type']](**{key: value for key, value in one.items() if key != 'type'})
        if one['type'] in STACKED
        else TRANSFORMS.build(one)
        for one in steps
    ]

    def augment(groups: Groups) -> list[np.ndarray]:
        seen, out = set(), []
        for group in groups:
            group = [img.copy() if id(img) in seen else img for img in group]
            seen.update(map(id, group))
            results = dict(imgs=group, img_shape=group[0].shape[:2], modality='RGB')
            for transform in built:
                results = transform(results)
            out.extend(results['imgs'])
        return out

    return augment


def mmaction_steps(steps: list[dict]) -> list[dict]:
    """Replace this package's transforms by MMAction2's, and drop those it does not have."""
    ours = {'ClipGrayscale', 'ClipGaussianBlur'}
    left = []
    for step in steps:
        if step['type'] == 'ClipColorJitter':
            step = dict(step, type='ColorJitter')
            prob = step.pop('prob')
            left.append(dict(type='RandomApply', transforms=[step], prob=prob))
        elif step['type'] not in ours:
            left.append(step)
    return left


def make_mmaction(steps: list[dict]) -> Augment | None:
    left = mmaction_steps(steps)
    return make_own(left) if left else None


def make_torchvision(steps: list[dict]) -> Augment | None:
    try:
        from torchvision.transforms import v2
    except (ImportError, RuntimeError):  # RuntimeError if it was built for another torch
        return None
    makers = dict(
        RandomResizedCrop=lambda area_range, aspect_ratio_range=(3 / 4, 4 / 3): (
            v2.RandomResizedCrop(SIDE, area_range, aspect_ratio_range, antialias=False)
        ),
        Flip=lambda flip_ratio: v2.RandomHorizontalFlip(flip_ratio),
        ClipColorJitter=lambda prob, **ranges: v2.RandomApply([v2.ColorJitter(**ranges)], prob),
        ClipGrayscale=lambda prob: v2.RandomGrayscale(prob),
        ClipGaussianBlur=lambda sigma_range, prob: v2.RandomApply(
            [v2.GaussianBlur(13, sigma_range)], prob
        ),
    )
    chain = v2.Compose(build_with(makers, steps))
    return lambda groups: [
        chain(torch.from_numpy(np.stack(group)).permute(0, 3, 1, 2)) for group in groups
    ]


def make_kornia(steps: list[dict]) -> Augment | None:
    try:
        import kornia.augmentation as ka
    except ImportError:
        return None
    makers = dict(
        RandomResizedCrop=lambda area_range, aspect_ratio_range=(3 / 4, 4 / 3): (
            ka.RandomResizedCrop((SIDE, SIDE), area_range, aspect_ratio_range)
        ),
        Flip=lambda flip_ratio: ka.RandomHorizontalFlip(p=flip_ratio),
        ClipColorJitter=lambda prob, **ranges: ka.ColorJitter(**ranges, p=prob),
        ClipGrayscale=lambda prob: ka.RandomGrayscale(p=prob),
        ClipGaussianBlur=lambda sigma_range, prob: ka.RandomGaussianBlur(
            (13, 13), sigma_range, p=prob
        ),
    )
    built = build_with(makers, steps)
    clips = ka.VideoSequential(*built, data_format='BTCHW', same_on_frame=True)
    return lambda groups: clips(
        torch.from_numpy(np.stack([np.stack(group) for group in groups]))
        .permute(0, 1, 4, 2, 3)
        .float()
        .div_(255)
    )


def build_with(makers: dict[str, Callable], steps: list[dict]) -> list:
    """Build the transforms of another library; its crop also resizes."""
    return [
        makers[step['type']](**{key: value for key, value in step.items() if key != 'type'})
        for step in steps
        if step['type'] in makers
    ]


def make_contenders(steps: list[dict]) -> dict[str, Augment | None]:
    """Build all contenders; ``None`` if one is not installed or has no such operation."""
    contenders = {
        OURS: make_own(steps),
        BASELINE: make_stacked(steps),
        'MMAction2': make_mmaction(steps),
        'torchvision v2': make_torchvision(steps),
        'kornia': make_kornia(steps),
    }
    if {'Resize', 'ClipColorJitter'} <= {step['type'] for step in steps}:
        contenders['device'] = make_own(steps, 'device')
    return contenders


# -- Frames and turns ------------------------------------------------------------------------


def sample_of(groups: Groups) -> dict:
    """Make a sample with the groups as its clips."""
    return dict(
        imgs=[img for group in groups for img in group],
        img_shape=groups[0][0].shape[:2],
        num_views=len(groups),
        num_segments=1,
        clip_len=len(groups[0]),
    )


def make_groups(shape: tuple[int, int, int], share: str, size: tuple[int, int]) -> Groups:
    """Make V x S x T smooth pictures with some noise, in groups of one draw."""
    rng = np.random.default_rng(0)
    num_views, num_segments, clip_len = shape
    imgs = []
    for _ in range(num_views * num_segments * clip_len):
        coarse = rng.integers(0, 256, (12, 16, 3)).astype(np.float32)
        smooth = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        noisy = smooth + rng.normal(0, 4, smooth.shape)
        imgs.append(noisy.clip(0, 255).astype(np.uint8))
    if shape == (3, 3, 1):  # VCLR's third view is the first one again
        imgs[6:] = imgs[:3]
    length = 1 if share == 'frame' else clip_len
    return [imgs[start : start + length] for start in range(0, len(imgs), length)]


def read_works() -> dict[str, tuple[list[dict], Groups]]:
    """Read the transforms and make the frames of each chain and each operation."""
    init_default_scope('mmaction')
    works = {}
    for name, (path, shape) in CHAINS.items():
        pipeline = Config.fromfile(CONFIGS / path).train_pipeline
        augment = next(step for step in pipeline if step.type == 'SharedAugment')
        steps = [step.to_dict() for step in augment.transforms]
        works[name] = steps, make_groups(shape, augment.share, (340, 256))
    steps = {step['type']: step for step in works['CVRL'][0]}
    for name, types in OPERATIONS.items():
        size = (340, 256) if 'Resize' in types else (SIDE, SIDE)
        chosen = [dict(steps[one]) for one in types]
        for step in chosen:  # apply it always
            step.update({key: 1.0 for key in ('prob', 'flip_ratio') if key in step})
        works[name] = chosen, make_groups((1, 1, 16), 'clip', size)
    return works


def take_turn(augment: Augment, groups: Groups, num_samples: int) -> float:
    """Return the milliseconds per frame."""
    spent = 0.0
    for seed in range(num_samples):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        start = time.process_time()
        augment(groups)
        spent += time.process_time() - start
    return 1e3 * spent / (num_samples * sum(map(len, groups)))


def keep_busy(ready: Event) -> None:
    """Augment clips until the process is ended."""
    cv2.setNumThreads(1)
    steps, groups = read_works()['CVRL']
    augment = make_own(steps)
    while True:
        augment(groups)
        ready.set()


def measure(args: argparse.Namespace, load: str) -> list[dict]:
    """Return one row for each work and contender."""
    rows = []
    with torch.inference_mode():
        for work, (steps, groups) in read_works().items():
            contenders = {
                name: lambda _, run=run, groups=groups: take_turn(run, groups, args.samples)
                for name, run in make_contenders(steps).items()
                if run
            }
            times = take_turns(contenders, args.turns, f'{load}: {work}')
            for name, spent in times.items():
                ratios = np.divide(spent, times[OURS])
                row = dict(work=work, contender=name, load=load, frames=sum(map(len, groups)))
                rows.append(row | dict(ms_a_frame=summary(spent), times_ours=summary(ratios)))
    return rows


def make_table(rows: list[dict], loads: list[str]) -> Table:
    """Make a table: a line for each work and contender, two columns for each load."""
    table = Table('', '', *(f'{load}, {unit}' for load in loads for unit in ('ms', '× this')))
    lines: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        lines.setdefault((row['work'], row['contender']), []).extend(
            [f'{row["ms_a_frame"]["median"]:.3f}', with_spread(row['times_ours'])]
        )
    for names, texts in lines.items():
        table.add_row(*names, *texts)
    return table


def run_benchmark(args: argparse.Namespace) -> None:
    """Measure, print the figures, and write them to a file if one is named."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rows = measure(args, 'alone')
    loads = ['alone']
    if args.busy:
        loads.append(f'beside {args.busy}')
        context = multiprocessing.get_context('spawn')
        events = [context.Event() for _ in range(args.busy)]
        busy = [context.Process(target=keep_busy, args=(one,), daemon=True) for one in events]
        for process in busy:
            process.start()
        for event in events:
            event.wait()
        try:
            rows += measure(args, loads[1])
        finally:
            for process in busy:
                process.terminate()
    console = Console(width=120)
    console.print(make_table(rows, loads))
    for name, made in make_contenders(read_works()['VCLR'][0]).items():
        if made is None:
            console.print(f'{name}: cannot be imported, not measured')
    if args.out:
        write_figures(args.out, dict(turns=args.turns, samples=args.samples), rows)
