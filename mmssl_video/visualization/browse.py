"""Show the input of the network: each view, segment and frame, beside the source frames."""

import math
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from mmaction.datasets import RepeatAugDataset
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from PIL import Image, ImageDraw, ImageFont

from mmssl_video.datasets.sources import path_of
from mmssl_video.datasets.transforms import SharedAugment
from mmssl_video.datasets.transforms.jointly import segments_per_view
from mmssl_video.errors import UserError
from mmssl_video.files import atomic_path
from mmssl_video.video import encode_video

from .figures import class_name

STAGES = ('original', 'transformed')
PICTURES, VIDEOS = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.gif'), ('.mp4', '.mkv', '.mov')
TEXT, FAINT, PAPER = '#1a1c1f', '#6b7078', 'white'
MIN_TILE, MAX_WIDTH = 112, 1700  # pixels; smaller tiles are magnified, longer rows are broken
MAX_FRAMES = 16  # frames of a clip in a still picture
MARGIN, GAP, BLOCK_GAP, LINE = 14, 2, 14, 16
MIN_SECONDS = 4  # short clips are repeated up to this length


@dataclass
class FedClip:
    """One clip of a sample.

    Attributes:
        frame_numbers (np.ndarray): int64 [T], drawn by the view sampler, counted as in the files:
            from 0 in a video, from 1 in a folder of raw frames.
        sources (list[np.ndarray]): T decoded frames uint8 [h, w, 3], RGB, before any augmentation.
        fed (np.ndarray): uint8 [T', H, W, 3], RGB, input of the data preprocessor. T' is T, or 1
            if the pipeline turns a clip into one image.
        made (dict[str, np.ndarray]): Output of a network for it, by heading, each like ``fed``.
    """

    frame_numbers: np.ndarray
    sources: list[np.ndarray]
    fed: np.ndarray
    made: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class FedSample:
    """All clips of a sample, by view (or crop) and segment.

    Attributes:
        title (str): File name, with its folder.
        facts (list[str]): Its class and other labels for the model, as text.
        views (list[list[FedClip]]): Clips in order of view, segment.
        rows (str): Name of a view: ``'view'``, or ``'crop'`` in MMAction2's pipelines.
    """

    title: str
    facts: list[str]
    views: list[list[FedClip]]
    rows: str = 'view'


class _Recorder:
    """A pipeline that keeps the decoded frames, and the results before packing."""

    def __init__(self, transforms: list) -> None:
        self.transforms = transforms

    def __call__(self, results: dict) -> dict | None:
        self.sources = self.known = None
        for transform in self.transforms:
            results = transform(results)
            if results is None:
                return None
            if 'imgs' in results:
                self.known = results
                if self.sources is None:
                    # Copies, since Flip and others work in place.
                    self.sources = [image.copy() for image in results['imgs']]
        return results


def build_dataset(cfg: Config, split: str = 'train') -> BaseDataset:
    """Build the dataset of a split as in training or evaluation.

    Transforms that training runs on the device run in ``SharedAugment`` here, with the same draws.

    Args:
        cfg: Config of pretraining or of an MMAction2 recognizer.
        split: ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        UserError: If there is no such split, it reads no frames, or its files are missing.
    """
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        found = [name for name in ('train', 'val', 'test') if cfg.get(f'{name}_dataloader')]
        raise UserError(
            f'{cfg.filename} has no {split}_dataloader; it has {", ".join(found) or "none"}'
        )
    dataset = loader.dataset
    while 'dataset' in dataset:  # RepeatDataset and other wrappers
        dataset = dataset.dataset
    steps = [step['type'] for step in dataset.get('pipeline', [])]
    if not any(step.endswith('Decode') for step in steps):
        raise UserError(
            f'{cfg.filename}: the {split} pipeline decodes no frames ({", ".join(steps)}); '
            'browse a config that reads videos or raw frames'
        )
    try:
        built = DATASETS.build(dataset)
    except FileNotFoundError as error:
        raise UserError(
            f'{error.filename or error}: no such file; set {split}_dataloader.dataset.ann_file and '
            'data_prefix with --cfg-options'
        ) from error
    if isinstance(built, RepeatAugDataset):  # one of the samples of a video
        built.prepare_data = super(RepeatAugDataset, built).prepare_data
    for transform in built.pipeline.transforms:
        if isinstance(transform, SharedAugment):
            transform.photometric = 'worker'
    return built


def read_sample(
    dataset: BaseDataset,
    index: int,
    seed: int = 0,
    epoch: int = 0,
    class_names: Sequence[str] | None = None,
) -> FedSample:
    """Run the pipeline on one video, and keep its input and output frames.

    If the dataset is an ``UnlabeledVideoDataset``, the draws are those of a training run with this
    seed in this epoch. Otherwise they depend on seed, epoch and index alone, by the global
    generators.

    Args:
        dataset: From :func:`build_dataset`.
        index: Number of the sample.
        seed: Seed of the draws.
        epoch: Number of the epoch, from 0.
        class_names: Name of each label; without it the facts say ``class 3``.

    Raises:
        UserError: If the video cannot be read, or the pipeline does not end with RGB frames from
            ``FormatViews``, or from ``FormatShape`` with NCHW or NCTHW.
    """
    if hasattr(dataset, 'set_epoch'):
        dataset.set_epoch(seed, epoch)
    else:
        words = np.random.SeedSequence([seed, epoch, index]).generate_state(3)
        random.seed(int(words[0]))
        np.random.seed(words[1])
        torch.manual_seed(int(words[2]))
    pipeline = dataset.pipeline
    dataset.pipeline = recorder = _Recorder(pipeline.transforms)
    try:
        packed = dataset[index]
    finally:
        dataset.pipeline = pipeline
    known = recorder.known
    if known is None or 'frame_inds' not in known or 'inputs' not in packed:
        raise UserError(
            f'sample {index}: its pipeline gives no frames of a video; browse a config that does'
        )
    rows = 'view' if 'num_views' in known else 'crop'
    views = _fed_views(np.asarray(packed['inputs']), known)
    segments = [len(view) for view in views]
    # Every crop shows the same frames; each view has its own.
    num_clips = sum(segments) if rows == 'view' else segments[0]
    numbers = np.asarray(known['frame_inds']).reshape(num_clips, -1)
    clips = []
    for clip, fed in enumerate(fed for view in views for fed in view):
        row = clip % num_clips
        first = row * numbers.shape[1]
        sources = recorder.sources[first : first + numbers.shape[1]]
        clips.append(FedClip(numbers[row], sources, fed))
    ends = np.cumsum(segments)
    by_view = [clips[end - size : end] for size, end in zip(segments, ends, strict=True)]
    path = Path(path_of(known))
    title = '/'.join(path.parts[-2:])
    return FedSample(title, _facts(known, pipeline.transforms[-1], class_names), by_view, rows)


def _fed_views(inputs: np.ndarray, known: dict) -> list[np.ndarray]:
    """Cut the network's input into views uint8 [S, T, H, W, 3]."""
    if 'num_views' in known:
        segments = segments_per_view(known)
        clips = inputs.reshape(-1, *inputs.shape[2:])
    elif inputs.ndim in (4, 5):
        clips, clip_len = inputs, known['clip_len']
        # With NCHW, the frames of all clips are in a row.
        if inputs.ndim == 4 and len(inputs) % clip_len == 0:
            clips = inputs.reshape(-1, clip_len, *inputs.shape[1:]).swapaxes(1, 2)
        num_clips = len(known['frame_inds']) // clip_len
        segments = [num_clips] * (len(clips) // num_clips)
    else:
        clips, segments = inputs, []
    if clips.ndim == 4:
        clips = clips[:, :, None]
    if clips.ndim != 5 or clips.shape[1] != 3 or sum(segments) != len(clips):
        raise UserError(
            f'the pipeline gives an array {list(inputs.shape)}, not RGB frames of FormatViews or '
            'of FormatShape with NCHW or NCTHW; browse a config that gives these'
        )
    return np.split(clips.transpose(0, 2, 3, 4, 1), np.cumsum(segments)[:-1])


def _facts(known: dict, pack: object, class_names: Sequence[str] | None) -> list[str]:
    """Describe the labels for the model."""
    facts = []
    label = known.get('label', -1)
    if isinstance(label, int) and label >= 0:
        facts.append(class_name(label, class_names))
    facts += [f'{key} {known[key]}' for key in getattr(pack, 'algorithm_keys', ()) if key in known]
    return facts


# -------------------------------------------------------------------------------------- pictures


def draw_sample(
    sample: FedSample, stages: Sequence[str] = STAGES, step: int | None = None
) -> np.ndarray:
    """Draw a sample: a row per view, with the source frames above the input of the network.

    The input is drawn pixel by pixel, magnified by a whole number if it is small. Source frames are
    scaled to the same width.

    Args:
        sample: From :func:`read_sample`.
        stages: ``'original'``, ``'transformed'`` and headings of ``made``, in this order.
        step: Draw only this frame of each clip, for a video; by default all frames, or 16 evenly
            spaced ones of longer clips.

    Returns:
        np.ndarray: uint8 [H, W, 3], RGB.
    """
    clips = [clip for view in sample.views for clip in view]
    height, width = clips[0].fed.shape[1:3]
    factor = max(1, math.ceil(MIN_TILE / width))
    height, width = factor * height, factor * width
    shapes = [source.shape for clip in clips for source in clip.sources]
    heights = dict.fromkeys(stages, height)
    if 'original' in heights:
        heights['original'] = max(round(width * shape[0] / shape[1]) for shape in shapes)
    small, bold, title, fact = _font(11), _font(12, bold=True), _font(15, bold=True), _font(13)
    texts = [(f'{sample.rows} {len(sample.views)}', bold)]
    texts += [(line, small) for stage in stages for line in stage.splitlines()]
    first_tile = 2 * MARGIN + math.ceil(max(font.getlength(text) for text, font in texts))
    columns = max(1, (MAX_WIDTH - first_tile) // (width + GAP))
    lines = [
        (view, line)
        for view, clips in enumerate(sample.views)
        for line in _lines(clips, step, columns)
    ]

    # Gaps between clips are wider than those between the frames of a clip.
    def left(line: list[_Tile], column: int) -> int:
        return first_tile + column * (width + GAP) + BLOCK_GAP * line[column].gaps

    line_height = LINE + sum(heights[stage] + GAP for stage in stages) + BLOCK_GAP
    facts_left = MARGIN + title.getlength(sample.title) + 2 * BLOCK_GAP
    facts = ' · '.join(sample.facts)
    right = [left(line, len(line) - 1) + width for _, line in lines]
    size = (
        math.ceil(max(*right, facts_left + fact.getlength(facts))) + MARGIN,
        2 * MARGIN + BLOCK_GAP + len(lines) * line_height,
    )
    canvas = Image.new('RGB', size, PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN - 2), sample.title, TEXT, title)
    draw.text((facts_left, MARGIN), facts, FAINT, fact)
    for number, (view, line) in enumerate(lines):
        top = 2 * MARGIN + BLOCK_GAP + number * line_height
        if not number or lines[number - 1][0] != view:
            draw.text((MARGIN, top), f'{sample.rows} {view}', TEXT, bold)
        for column, (segment, clip, t, _) in enumerate(line):
            label = f'frame {clip.frame_numbers[t]}'
            if not column or line[column - 1].segment != segment:
                label = f'segment {segment} · {label}'
                if small.getlength(label) > width:
                    label = label.replace('segment', 'seg.')
            x, y = left(line, column), top + LINE
            draw.text((x, top), label, TEXT, small)
            for stage in stages:
                if not column:
                    draw.text((MARGIN, y), stage, FAINT, small)
                if stage == 'original':
                    source = Image.fromarray(clip.sources[t])
                    shape = width, round(width * source.height / source.width)
                    canvas.paste(source.resize(shape, Image.Resampling.LANCZOS), (x, y))
                elif t < len(clip.fed) or step is not None:
                    frames = clip.fed if stage == 'transformed' else clip.made[stage]
                    frame = frames[min(t, len(frames) - 1)]
                    frame = frame.repeat(factor, axis=0).repeat(factor, axis=1)
                    canvas.paste(Image.fromarray(frame), (x, y))
                y += heights[stage] + GAP
    return np.asarray(canvas)


class _Tile(NamedTuple):
    segment: int
    clip: FedClip
    t: int
    gaps: int  # number of gaps between clips before it in its line


def _lines(clips: list[FedClip], step: int | None, columns: int) -> Iterator[list[_Tile]]:
    """Break the tiles of a view into lines, with the largest number of whole clips in each."""
    line: list[_Tile] = []
    for segment, clip in enumerate(clips):
        last = len(clip.frame_numbers) - 1
        if step is None:
            steps = np.linspace(0, last, min(last + 1, MAX_FRAMES)).round().astype(int).tolist()
        else:
            steps = [min(step, last)]
        if line and len(line) + len(steps) > columns:
            yield line
            line = []
        gaps = line[-1].gaps + (len(steps) > 1) if line else 0
        for t in steps:
            if len(line) == columns:
                yield line
                line, gaps = [], 0
            line.append(_Tile(segment, clip, t, gaps))
    yield line


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load Matplotlib's own font, as in the other pictures."""
    name = f'DejaVuSans{"-Bold" if bold else ""}.ttf'
    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), 'fonts', 'ttf', name), size)


def _stack(canvases: Sequence[np.ndarray]) -> np.ndarray:
    """Stack pictures below each other on white."""
    width = max(canvas.shape[1] for canvas in canvases)
    widened = [
        np.pad(canvas, ((0, 0), (0, width - canvas.shape[1]), (0, 0)), constant_values=255)
        for canvas in canvases
    ]
    return np.concatenate(widened)


def output_suffix(out: str, suffixes: Sequence[str]) -> str:
    """Get the suffix of a file to write; ``''`` for a folder, which exists or has no suffix.

    Raises:
        UserError: If it is not one of ``suffixes``.
    """
    suffix = '' if os.path.isdir(out) else Path(out).suffix.lower()
    if suffix and suffix not in suffixes:
        raise UserError(
            f'{out}: a file ends in {", ".join(suffixes)}; choose one of these, or name a folder, '
            'without a suffix'
        )
    return suffix


def save_picture(
    path: str | os.PathLike, samples: Sequence[FedSample], stages: Sequence[str] = STAGES
) -> None:
    """Write samples below each other as one picture, atomically.

    Raises:
        UserError: If the suffix is not one of ``PICTURES``, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        raise UserError(f'{path}: pictures end in {", ".join(PICTURES)}; choose one of these')
    picture = Image.fromarray(_stack([draw_sample(sample, stages) for sample in samples]))
    with atomic_path(path) as temporary:
        picture.save(temporary, Image.registered_extensions()[path.suffix.lower()])


def save_video(
    path: str | os.PathLike,
    samples: Sequence[FedSample],
    stages: Sequence[str] = STAGES,
    fps: float = 5,
) -> None:
    """Write samples below each other as one H.264 video in which all clips play at once.

    Raises:
        UserError: If the clips have only one frame, or the file cannot be written.
    """
    clips = [clip for sample in samples for view in sample.views for clip in view]
    num_steps = max(len(clip.frame_numbers) for clip in clips)
    if num_steps == 1:
        raise UserError(
            f'{path}: this config feeds single frames, which do not move; use `format=image`'
        )
    frames = []
    for step in range(num_steps):
        frame = _stack([draw_sample(sample, stages, step) for sample in samples])
        odd = frame.shape[0] % 2, frame.shape[1] % 2  # H.264 halves both sides for colour
        frames.append(np.pad(frame, ((0, odd[0]), (0, odd[1]), (0, 0)), constant_values=255))
    rounds = math.ceil(MIN_SECONDS * fps / num_steps)
    # Small letters need fine quantisation.
    encode_video(path, np.stack(frames * rounds), fps, options=dict(crf='14'))
