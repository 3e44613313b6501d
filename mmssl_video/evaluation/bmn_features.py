"""Extract features over the time of untrimmed videos, in the form that MMAction2's BMN reads.

The time axis: in a video with ``N`` frames and one clip every ``I`` frames, the features cover the
first ``K * I`` frames, ``K = N // I``. Row i of ``bins`` covers the part from i / bins to
(i + 1) / bins of them. MMAction2 has the same time axis: ``GenerateLocalizationLabels`` divides the
ground truth by ``feature_frame / duration_frame * duration_second``, with ``feature_frame = K * I``
from the annotations written here, and BMN scales its proposals to ``(duration_frame // I * I) /
duration_frame * duration_second``, if its ``feature_extraction_interval`` is ``I``.

A video with fewer than ``I`` frames would have proposals of length 0 there. Its only clip
represents the whole video, and its annotation has ``duration_frame = feature_frame = I``, so both
formulas use the whole ``duration_second``.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmaction.registry import TRANSFORMS
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dist import is_main_process
from scipy.integrate import cumulative_trapezoid
from torch import Tensor, nn

from mmssl_video.datasets.lists import find_video, index_videos
from mmssl_video.datasets.transforms import SampleSlidingClips
from mmssl_video.errors import BadVideoError, UnusableVideoError, UserError
from mmssl_video.files import atomic_path, claim_folder, write_json
from mmssl_video.models.encoding import encode
from mmssl_video.passes import TIMEOUT, from_main_process, report_faults, run_pass
from mmssl_video.video import VideoReader
from mmssl_video.video.find import require_folder

from .encoder import NotFiniteError, preprocess, to_host
from .loader import feature_pipeline
from .store import fingerprint

FRAMES_AT_A_TIME = 64  # for a decoding worker, at the video's own size
BAD_VIDEOS = 'bad_videos.txt'
LENGTHS = 'duration_frame', 'feature_frame'
ANNOTATION_REMEDY = 'correct the annotation'


def rescale(features: np.ndarray, bins: int = 100) -> np.ndarray:
    """Average features over the equal parts of their time.

    The signal ``s(t)``, t in [0, K], has feature k of K at ``k + 0.5``. It is linear between the
    features, and constant before the first and after the last one. Row i is the mean of the signal
    over its bin, ``bins / K * integral of s(t) dt from i * K / bins to (i + 1) * K / bins``. The
    integral is exact, so one formula averages if there are more features than bins, and
    interpolates if there are fewer. A signal linear in time stays linear.

    Args:
        features: [K, D].
        bins: Number of rows to make.

    Returns:
        float64 [bins, D].
    """
    num_features = len(features)
    edges = np.linspace(0, num_features, bins + 1)
    # The signal is linear between these times, so the trapezoid rule is exact.
    times = np.union1d(edges, np.arange(num_features) + 0.5)
    place = np.clip(times - 0.5, 0, num_features - 1)
    left = place.astype(int)
    right = np.minimum(left + 1, num_features - 1)
    blend = (place - left)[:, None]
    signal = (1 - blend) * features[left] + blend * features[right]
    integral = cumulative_trapezoid(signal, times, axis=0, initial=0)
    return np.diff(integral[np.searchsorted(times, edges)], axis=0) * (bins / num_features)


def sliding_pipeline(
    cfg: Config,
    interval: int = 16,
    clip_len: int | None = None,
    frame_interval: int | None = None,
) -> list[dict]:
    """Build the steps from an open video to sliding clips, prepared as in the config's evaluation.

    Args:
        cfg: Config of pretraining or of an MMAction2 recognizer. The steps after the decoder in its
            :func:`feature_pipeline` are kept.
        interval: Frames from one clip to the next.
        clip_len: Frames of a clip; default that of the config's sampler.
        frame_interval: Frames from one frame of a clip to the next; default the sampler's.

    Raises:
        UserError: If the config's pipeline has no decoder, or no sampler with the missing values,
            or a number is below 1.
    """
    steps = feature_pipeline(cfg)
    decoders = [i for i, step in enumerate(steps) if step['type'].endswith('Decode')]
    if not decoders:
        raise UserError(f'the feature pipeline of {cfg.filename} decodes nothing; add VideoDecode')
    # The default of MMAction2's clip samplers is 1; UniformSample has no such argument.
    sampler = next((step for step in steps if 'clip_len' in step), dict(type='UniformSample'))
    if frame_interval is None and sampler['type'] != 'UniformSample':
        frame_interval = sampler.get('frame_interval', 1)
    if clip_len is None:
        clip_len = sampler.get('clip_len')
    if clip_len is None or frame_interval is None:
        raise UserError(
            f'the feature pipeline of {cfg.filename} does not define clips; give '
            '`clip_len=T` and `frame_interval=N`'
        )
    sliding = SampleSlidingClips(clip_len, frame_interval, interval)  # checks the numbers
    return [
        dict(
            type='SampleSlidingClips',
            clip_len=sliding.clip_len,
            frame_interval=sliding.frame_interval,
            interval=sliding.interval,
        ),
        dict(type='VideoDecode'),
        *steps[decoders[0] + 1 :],
    ]


class Chunk(NamedTuple):
    """Some clips of a video, in order. Without a batch: the rest of the video cannot be read."""

    name: str
    path: str
    num_frames: int = 0  # of the whole video
    num_clips: int = 0  # of the whole video
    seconds: float = 0  # of the whole video
    clips: int = 0  # in this chunk
    batch: dict | None = None  # for the data preprocessor


class ClipReader:
    """Reads all sliding clips of a video, a few at a time.

    Args:
        pipeline: From :func:`sliding_pipeline`.
        num_clips: Largest number of clips in a chunk.
        durations: Annotated durations of each video, in seconds, by its name.
    """

    def __init__(
        self, pipeline: list[dict], num_clips: int, durations: dict[str, list[float]]
    ) -> None:
        self.pipeline = Compose([TRANSFORMS.build(step) for step in pipeline])
        self.num_clips = num_clips
        self.durations = durations

    def __call__(self, video: tuple[str, str]) -> Iterator[Chunk | float]:
        """Yield the chunks of a video, given as (name, path), each followed by the part done."""
        name, path = video
        try:
            with VideoReader(path, timeout=TIMEOUT, forward=True) as reader:
                seconds = float(reader.times[-1] + 1 / reader.avg_fps)
                if fault := duration_fault(self.durations[name], seconds):
                    raise UnusableVideoError(path, fault, ANNOTATION_REMEDY)
                total = self.pipeline.transforms[0].num_clips(len(reader))
                for first in range(0, total, self.num_clips):
                    end = min(first + self.num_clips, total)
                    clips = self._cut(reader, first, end)
                    yield Chunk(name, path, len(reader), total, seconds, end - first, clips)
                    yield end / total
        except Exception:
            yield Chunk(name, path)
            raise

    def _cut(self, reader: VideoReader, first: int, end: int) -> dict:
        reader.renew()
        clips = dict(
            video_reader=nullcontext(reader),  # VideoDecode would close it
            total_frames=len(reader),
            avg_fps=reader.avg_fps,
            frame_times=reader.times,
            start_index=0,
            modality='RGB',
            clip_range=(first, end),
        )
        return {key: [value] for key, value in self.pipeline(clips).items()}


@torch.no_grad()
def encode_chunk(model: nn.Module, chunk: Chunk, clip_len: int) -> Tensor:
    """Encode a chunk's clips to features float32 [clips, D], on the device.

    They are averaged over the crops of the pipeline, and over the frames of a clip if the backbone
    encodes these one by one.

    Args:
        model: From :func:`~mmssl_video.evaluation.encoder.build_encoder`.
        chunk: A chunk with a batch.
        clip_len: Frames of a clip.
    """
    format_shape = model.data_preprocessor.format_shape
    features = encode(model.backbone, preprocess(model, chunk.batch), format_shape)[0].float()
    frames = 1 if format_shape == 'NCTHW' else clip_len
    features = features.unflatten(0, (-1, chunk.clips, frames))  # crop, clip, frame
    return features.mean(dim=(0, 2))


class _Assembly:
    """Encodes chunks, joins those of a video, and writes each complete video.

    Args:
        model: From :func:`~mmssl_video.evaluation.encoder.build_encoder`.
        clip_len: Frames of a clip.
        out, interval, bins: As for :func:`extract_bmn_features`.
    """

    def __init__(
        self, model: nn.Module, clip_len: int, out: Path, interval: int, bins: int
    ) -> None:
        self.model = model
        self.clip_len = clip_len
        self.target = out, interval, bins
        self.parts: dict[str, list[np.ndarray]] = {}
        self.spoilt: set[str] = set()

    def __call__(self, chunk: Chunk) -> Iterator[BadVideoError]:
        """Encode the next chunk of a video. Chunks of different videos may come mixed."""
        wait = None
        if chunk.batch is not None and chunk.name not in self.spoilt:
            wait = to_host(encode_chunk(self.model, chunk, self.clip_len))
        return self._finish(chunk, wait)

    def _finish(
        self, chunk: Chunk, wait: Callable[[], np.ndarray] | None
    ) -> Iterator[BadVideoError]:
        if chunk.name in self.spoilt:
            return
        if wait is None:
            self.parts.pop(chunk.name, None)
            return
        features = wait()
        if not np.isfinite(features).all():
            self.spoilt.add(chunk.name)
            self.parts.pop(chunk.name, None)
            yield NotFiniteError(chunk.path)
            return
        self.parts.setdefault(chunk.name, []).append(features)
        if sum(map(len, self.parts[chunk.name])) == chunk.num_clips:
            _write(chunk, np.concatenate(self.parts.pop(chunk.name)), *self.target)


def extract_bmn_features(
    cfg: Config,
    model: nn.Module,
    ann_files: list[str],
    data_root: str,
    out_dir: str,
    *,
    interval: int = 16,
    clip_len: int | None = None,
    frame_interval: int | None = None,
    bins: int = 100,
    batch_size: int | None = None,
    num_workers: int = 2,
    skip_bad: bool = False,
) -> dict[str, str]:
    """Write the features of untrimmed videos and the annotations that fit them.

    ``out_dir`` gets these files:

    - ``csv/<video>.csv``, a line ``f0,f1,…`` and ``bins`` rows of D numbers, as MMAction2's
      ``LoadLocalizationFeature`` reads them
    - ``<name of each annotation file>``, with ``duration_frame`` and ``feature_frame`` of the video
      file
    - ``lengths/<video>.json``, these two numbers and the seconds of the video
    - ``settings.json``
    - ``bad_videos.txt``, a line ``name<TAB>reason`` for each video that was left out

    Videos that already have a CSV are kept. Several processes share the videos.

    Args:
        cfg: Config of the model.
        model: From :func:`~mmssl_video.evaluation.encoder.build_encoder`.
        ann_files: Annotations in the format of MMAction2's ``ActivityNetDataset``.
        data_root: Folder with ``<video>.mp4`` or another container's suffix, at any depth, with or
            without the prefix ``v_``.
        out_dir: Folder to make, or to continue in.
        interval: Frames from one clip to the next.
        clip_len: Frames of a clip; default that of the config's sampler. A 2D backbone encodes the
            frames one by one, and they are averaged.
        frame_interval: Frames from one frame of a clip to the next; default the sampler's.
        bins: Number of rows, BMN's ``temporal_dim``; 2 or more.
        batch_size: Clips that are decoded and encoded at a time; by default, clips with 64 frames
            in all.
        num_workers: Decoding workers; 0 for none.
        skip_bad: Whether to leave out videos that are missing, cannot be read, have a wrong
            annotation (:func:`annotation_fault`, :func:`duration_fault`) or give features that are
            not finite.

    Returns:
        Why videos were left out, by name.

    Raises:
        UserError: An annotation file cannot be read; a video must not be left out but is missing,
            cannot be read, has a wrong annotation or gives features that are not finite; no video
            is left; an argument is outside its range or does not fit the backbone; or ``out_dir``
            has features with other settings. An error in one process stops all.
    """
    if bins < 2 or num_workers < 0 or (batch_size is not None and batch_size < 1):
        raise UserError(
            f'bins is {bins}, batch size {batch_size} and workers {num_workers}; they need to be '
            'at least 2, 1 and 0'
        )
    pipeline = sliding_pipeline(cfg, interval, clip_len, frame_interval)
    clip_len, frame_interval = pipeline[0]['clip_len'], pipeline[0]['frame_interval']
    mixed = getattr(model.backbone, 'num_segments', 1)  # frames that TSM shifts into each other
    if clip_len % mixed:
        raise UserError(
            f'the backbone of {cfg.filename} reads {mixed} frames together, but a clip has '
            f'{clip_len}; set `clip_len={mixed}`'
        )
    out = Path(out_dir)
    annotations = {Path(path): _read_annotations(path) for path in ann_files}
    targets = {path: out / path.name for path in annotations}
    if len(set(targets.values())) < len(targets):
        raise UserError(f'{", ".join(ann_files)}: two files with the same name; rename one of them')
    for path, target in targets.items():
        if path.resolve() == target.resolve():
            raise UserError(f'{out_dir}: {path} would be overwritten; choose another output folder')
    names = list(dict.fromkeys(chain.from_iterable(annotations.values())))
    durations = defaultdict(list)
    for name, video in chain.from_iterable(videos.items() for videos in annotations.values()):
        durations[name].append(video['duration_second'])
    shown = cfg.model.backbone, cfg.model.get('data_preprocessor'), pipeline
    weights = chain.from_iterable(sorted(model.backbone.state_dict().items()))
    settings = dict(
        interval=interval,
        clip_len=clip_len,
        frame_interval=frame_interval,
        bins=bins,
        encoder=fingerprint(*shown, *weights),
    )

    def prepare() -> tuple[dict[str, str], dict[str, str]]:
        wrong = {
            name: f'{path}: {fault}'
            for path, videos in annotations.items()
            for name, video in videos.items()
            if (fault := annotation_fault(video))
        }
        wanted = []
        for name in names:
            if name in wrong:
                continue
            if not _csv_path(out, name).exists():
                wanted.append(name)
                continue
            seconds = _length(out, name).get('seconds')  # older folders do not have it
            if seconds and (fault := duration_fault(durations[name], seconds)):
                wrong[name] = fault
        if wrong and not skip_bad:
            name, fault = next(iter(wrong.items()))
            others = f' ({len(wrong) - 1} more are wrong)' if len(wrong) > 1 else ''
            raise UserError(
                f'{name}: {fault}{others}; {ANNOTATION_REMEDY}, or leave such videos out with '
                '`skip_bad=True`'
            )
        paths, missing = _find_videos(wanted, data_root)
        if missing and not skip_bad:
            raise UserError(
                f'{data_root}: {len(missing)} of {len(names)} videos are missing, the first is '
                f'{next(iter(missing))}; add them, or leave such videos out with `skip_bad=True`'
            )
        claim_folder(out, settings, 'features')
        return paths, missing | wrong

    paths, left_out = from_main_process(prepare)
    bad_videos = run_pass(
        list(paths.items()),
        ClipReader(pipeline, batch_size or max(1, FRAMES_AT_A_TIME // clip_len), durations),
        _Assembly(model, clip_len, out, interval, bins),
        name=itemgetter(1),
        num_workers=num_workers,
        to_device=True,
        skip_bad=skip_bad,
    )
    faults = left_out | {n: bad_videos[path] for n, path in paths.items() if path in bad_videos}
    report_faults(out / BAD_VIDEOS, faults, len(names))
    if is_main_process():
        for path, videos in annotations.items():
            kept = {}
            for name, video in videos.items():
                if name not in faults:
                    length = _length(out, name)
                    kept[name] = video | {key: length[key] for key in LENGTHS}
            write_json(targets[path], kept)
    return faults


def annotation_fault(video: dict) -> str | None:
    """Find what is wrong with the annotation of a video; ``None`` if nothing is.

    BMN would train on it without an error. A segment may exceed the video by a tenth of its
    duration or a second, whichever is more, as some of ActivityNet's do.

    Args:
        video: Annotation from MMAction2's ``ActivityNetDataset``.
    """
    duration = video['duration_second']
    if not _is_number(duration) or duration <= 0:
        return f'duration_second is {duration}, not a number of seconds'
    if not isinstance(video['annotations'], list):
        return f'annotations is {video["annotations"]}, not a list'
    slack = _slack(duration)
    for action in video['annotations']:
        segment = action.get('segment') if isinstance(action, dict) else None
        if not isinstance(segment, list) or len(segment) != 2 or not all(map(_is_number, segment)):
            return f'an annotation is {action}, without a segment [start, end] in seconds'
        start, end = segment
        if start >= end:
            return f'the segment {segment} does not start before it ends'
        if start < -slack or start >= duration or end > duration + slack:
            return f'the segment {segment} is not within the {duration:g} s of duration_second'
    return None


def duration_fault(annotated: Iterable[float], seconds: float) -> str | None:
    """Find what is wrong with the annotated durations of a video; ``None`` if nothing is.

    They may differ from the duration of the file by a tenth of it or a second, whichever is more.

    Args:
        annotated: One or more durations in seconds.
        seconds: Duration of the file.
    """
    for duration in annotated:
        if abs(duration - seconds) > _slack(seconds):
            return (
                f'duration_second of its annotation is {duration:g}, but the file has '
                f'{seconds:.1f} s'
            )
    return None


def _slack(seconds: float) -> float:
    return max(1.0, seconds / 10)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _csv_path(out: Path, name: str) -> Path:
    return out / 'csv' / f'{name}.csv'


def _length_path(out: Path, name: str) -> Path:
    return out / 'lengths' / f'{name}.json'


def _length(out: Path, name: str) -> dict:
    return json.loads(_length_path(out, name).read_text())


def _write(chunk: Chunk, features: np.ndarray, out: Path, interval: int, bins: int) -> None:
    frames = max(chunk.num_frames, interval), chunk.num_clips * interval
    length = dict(zip(LENGTHS, frames, strict=True), seconds=chunk.seconds)
    write_json(_length_path(out, chunk.name), length)
    # The CSV comes last: if it exists, the video is complete.
    with atomic_path(_csv_path(out, chunk.name)) as temporary:
        header = ','.join(f'f{i}' for i in range(features.shape[1]))
        rows = rescale(features, bins)
        np.savetxt(temporary, rows, fmt='%.6g', delimiter=',', header=header, comments='')


def _read_annotations(path: str) -> dict[str, dict]:
    try:
        videos = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise UserError(f'{path}: no such annotation file') from None
    except (OSError, ValueError) as error:
        raise UserError(f'{path}: cannot be read as JSON ({error}); check the file') from error
    wanted = {'duration_second', 'annotations'}
    if not isinstance(videos, dict) or not all(
        isinstance(video, dict) and wanted <= video.keys() for video in videos.values()
    ):
        raise UserError(
            f'{path}: not every video has duration_second and annotations; convert it to the '
            "format of MMAction2's ActivityNetDataset"
        )
    if not videos:
        raise UserError(f'{path}: names no video; check the file')
    return videos


def _find_videos(names: list[str], data_root: str) -> tuple[dict[str, str], dict[str, str]]:
    """Find the paths of the videos, and why others have none."""
    root = Path(data_root)
    require_folder(root, 'set `data_root=FOLDER` of the videos')
    index = index_videos(root)
    paths, missing = {}, {}
    for name in names:
        if path := find_video(index, name):
            paths[name] = str(root / path)
        else:
            missing[name] = f'no such video in {data_root}'
    return paths, missing
