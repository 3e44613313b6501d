"""Check the labelled lists of fine-tuning and linear evaluation before a run."""

import os.path as osp
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mmaction.datasets import RawframeDataset, VideoDataset
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.fileio import list_from_file

from mmssl_video.errors import UserError

from .repeated_videos import RepeatedVideoDataset
from .sources import FileCheck, path_of, read_list
from .unlabeled_videos import UnlabeledVideoDataset

FORMS = {
    VideoDataset: 'path label',
    RepeatedVideoDataset: 'path label',
    RawframeDataset: 'folder num_frames label',
}
FILES_REMEDY = (
    'check {}.data_prefix, or leave such lines out (tools/check_videos.py writes a list of the '
    'videos that can be read)'
)


def check_labelled_lists(cfg: Config, *parts: str) -> None:
    """Check that each line of a recognizer's lists can be read, and has a class and a video.

    MMAction2 itself does not check a line before it reads the video. A label that the classifier
    does not have then raises an IndexError, or on a GPU a device-side assertion.

    Only lists of MMAction2's video and raw frame data sets and of ours are checked. Files in other
    stores are not. A test that only dumps its predictions needs no labels.

    Args:
        cfg: Labels are compared with ``model.cls_head.num_classes``, if there is one.
        parts: The data loaders to check: any of 'train', 'val' and 'test'.

    Raises:
        UserError: Names the list, the line, what is wrong with it, and the remedy.
    """
    num_classes = (cfg.model.get('cls_head') or {}).get('num_classes')
    for part in parts:
        metrics = cfg.get(f'{part}_evaluator') or []
        metrics = [metrics] if isinstance(metrics, Mapping) else metrics
        scored = part == 'train' or any(metric['type'] != 'DumpResults' for metric in metrics)
        outer = cfg[f'{part}_dataloader']['dataset']
        for key, options in _datasets(outer, f'{part}_dataloader.dataset'):
            kind = options['type'] if callable(options['type']) else DATASETS.get(options['type'])
            if kind is not UnlabeledVideoDataset and kind not in FORMS:
                continue
            dataset = DATASETS.build({**options, 'pipeline': [], 'lazy_init': True})
            if kind in FORMS:
                entries = _read(dataset, key)
            elif dataset.ann_file:
                source = dataset.ann_file, dataset.root, dataset.frames, dataset.backend_args
                entries = read_list(*source)
            elif num_classes and scored:
                raise UserError(
                    f'{key}.ann_file is empty, and the folder {dataset.root} has no labels; set '
                    'it to a list'
                )
            else:
                continue
            if num_classes and scored:
                _check_labels(entries, dataset.ann_file, num_classes)
            backends = {step.get('io_backend', 'disk') for step in options['pipeline']}
            if kind in FORMS and backends <= {'disk', 'local'}:  # ours checks its files itself
                remedy = FILES_REMEDY.format(key)
                FileCheck('existence').leave_out_bad(entries, dataset.ann_file, False, remedy)


def _datasets(options: Mapping, key: str) -> Iterator[tuple[str, Mapping]]:
    """Yield a data set, or the data sets in MMEngine's wrappers, after their keys in the config."""
    if 'datasets' in options:
        for number, part in enumerate(options['datasets']):
            yield from _datasets(part, f'{key}.datasets.{number}')
    elif 'dataset' in options:
        yield from _datasets(options['dataset'], f'{key}.dataset')
    else:
        yield key, options


def _read(dataset: VideoDataset | RawframeDataset, key: str) -> list[dict]:
    """Read a list as MMAction2 does: an entry for each line, with its number ``line``."""
    path = dataset.ann_file
    try:
        entries = dataset.load_data_list()
    except OSError as error:
        raise UserError(
            f'{path}: cannot be read as a list ({error.strerror or error}); set {key}.ann_file'
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f'{path}: is not UTF-8, which MMAction2 expects; convert it') from error
    except (ValueError, IndexError, AssertionError) as error:
        number, line = _first_unreadable(dataset)
        raise UserError(
            f'{path}, line {number}: {line!r} is not of the form {FORMS[type(dataset)]!r}, with '
            'a path without spaces and the number of a class; correct the line'
        ) from error
    if not entries:
        raise UserError(f'{path}: the list is empty; set {key}.ann_file')
    if '\ufeff' in path_of(entries[0]):
        raise UserError(
            f'{path}: begins with a byte order mark, which MMAction2 takes for part of the first '
            'path; write the list in UTF-8 without it'
        )
    return [{**entry, 'line': number} for number, entry in enumerate(entries, 1)]


def _first_unreadable(dataset: VideoDataset | RawframeDataset) -> tuple[int, str]:
    """Number and text of the first line at which MMAction2 fails."""
    lines = list_from_file(dataset.ann_file)
    with TemporaryDirectory() as folder:
        dataset.ann_file = osp.join(folder, 'part.txt')

        def fails(count: int) -> bool:
            Path(dataset.ann_file).write_text('\n'.join(lines[:count]), encoding='utf-8')
            try:
                dataset.load_data_list()
            except (ValueError, IndexError, AssertionError):
                return True
            return False

        number = bisect_left(range(len(lines)), True, key=fails)
    return number, lines[number - 1]


def _check_labels(entries: list[dict], source: str, num_classes: int) -> None:
    """Check that labels are classes.

    Args:
        entries: Entries with ``line`` and ``label``: a number, or a list for several classes.
        source: The list that they come from.
        num_classes: C; labels are 0 to C - 1.
    """
    wrong, labels = [], set()
    for entry in entries:
        of_entry = entry['label'] if isinstance(entry['label'], list) else [entry['label']]
        labels.update(of_entry)
        outside = [label for label in of_entry if not 0 <= label < num_classes]
        if outside or not of_entry:
            wrong.append((entry, outside[0] if of_entry else -1))
    if not wrong:
        return
    entry, label = wrong[0]
    others = f' ({len(wrong) - 1:,} more lines are wrong)' if len(wrong) > 1 else ''
    if label < 0:
        fault, remedy = 'no label', 'give each line a path and the number of its class'
    else:
        fault, remedy = f'label {label}', f'set model.cls_head.num_classes={max(labels) + 1}'
        if min(labels) == 1 and max(labels) == num_classes:
            remedy = f'the labels start at 1: subtract 1 from each, or {remedy}'
    raise UserError(
        f'{source}, line {entry["line"]}: {path_of(entry)} has {fault}{others}, but '
        f'model.cls_head.num_classes is {num_classes}, for labels 0 to {num_classes - 1}; {remedy}'
    )
