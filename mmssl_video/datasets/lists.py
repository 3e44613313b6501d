"""Make lists of the public data sets, from the files and folders in which they are distributed.

A maker reads a data set's own annotation, looks for each video that it names, and returns the
splits: which videos were found, which are missing, and how many there should be. Labels of UCF101,
HMDB51, Something-Something V2 and Kinetics are numbered as in MMAction2, so its checkpoints fit.
Labels of JHMDB, ActivityNet and HACS are in alphabetical order, see ``<data set>_classes.txt``:
MMAction2 has a different order for ActivityNet, and none for the others. All layouts of a data set
are supported: a flat folder, a folder per class, any container.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmssl_video.errors import UserError
from mmssl_video.files import atomic_path, write_json
from mmssl_video.passes import TIMEOUT, run_pass, workers_for
from mmssl_video.video import VideoReader, find_videos
from mmssl_video.video.find import walk

from .collection import write_list

UNTRIMMED_FOLDERS = 'videos', 'data', '.'
TEXT = dict(encoding='utf-8-sig')  # with a byte order mark or without


@dataclass
class Split:
    """One list of a data set.

    Attributes:
        name (str): File name of the list without its suffix, e.g. ``ucf101_train_split_1_videos``.
        folder (Path): Folder that the paths in the list are relative to.
        official (tuple[int, ...]): Number of videos that the publishers state for each release.
        entries (list[tuple[str, int]]): (path, label) of the videos found; for raw frames, the path
            is followed by the number of frames.
        missing (list[str]): Names of the annotated videos that were not found.
        bad_videos (dict[str, str]): Why other videos cannot be read, by name. Only filled for data
            sets whose videos are opened.
        unlabelled (list[str]): Paths of the videos found that have no label: untrimmed videos
            without an action, which only localization can use.
        localization (str): Name of the ActivityNet-style annotation to write, if any.
        intervals (dict): Its content, by ``v_<id>``.
    """

    name: str
    folder: Path
    official: tuple[int, ...]
    entries: list[tuple[str, int]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    bad_videos: dict[str, str] = field(default_factory=dict)
    unlabelled: list[str] = field(default_factory=list)
    localization: str = ''
    intervals: dict[str, dict] = field(default_factory=dict)

    @property
    def annotated(self) -> int:
        """The number of videos that the annotation names."""
        return sum(map(len, (self.entries, self.missing, self.bad_videos, self.unlabelled)))


@dataclass
class Place:
    """Where a data set is.

    Args:
        root (Path): Its folder.
        videos (Path | None): Folder of the videos; None looks for the usual ones in ``root``.
        annotations (Path | None): Folder of the annotation; None looks for the usual ones.
    """

    root: Path
    videos: Path | None = None
    annotations: Path | None = None

    def find(self, *names: str, among: Sequence[str] = ()) -> Path:
        """Find an annotation file of one of these names.

        Raises:
            UserError: If there is none.
        """
        folders = [self.annotations] if self.annotations else [self.root / 'annotations', self.root]
        folders += [] if self.annotations else [self.root / folder for folder in among]
        for folder in folders:
            for name in names:
                if (folder / name).is_file():
                    return folder / name
        raise UserError(
            f'none of {", ".join(names)} is in {", ".join(map(str, folders))}; download the '
            "data set's annotation (docs/data.md says where), or set its folder with "
            '`annotations=FOLDER`'
        )

    def video_folder(self, *among: str) -> Path:
        """Find the folder of videos: the first of these that exists.

        Raises:
            UserError: If there is none.
        """
        folders = [self.videos] if self.videos else [self.root / folder for folder in among]
        for folder in folders:
            if folder.is_dir():
                return folder
        raise UserError(
            f'no folder of videos at {", ".join(map(str, folders))}; set it with `videos=FOLDER`'
        )


def index_videos(folder: Path) -> dict[str, str]:
    """Map the name of every video below a folder, without suffix, to its relative path.

    If two videos have the same name, the first path in sorted order counts.
    """
    index = {}
    for path in find_videos(folder):
        index.setdefault(Path(path).stem, path)
    return index


def index_frames(folder: Path) -> dict[str, int]:
    """Map every folder of pictures below a folder, as a relative path, to their number there."""
    numbers = {
        path: sum(name.lower().endswith(('.png', '.jpg')) for name in names)
        for path, names in walk(str(folder))
    }
    return {path: number for path, number in sorted(numbers.items()) if number}


def find_video(index: dict[str, str], name: str) -> str | None:
    """Find a video of ActivityNet's kind, with or without the prefix ``v_`` in its file name.

    Args:
        index: From :func:`index_videos`.
        name: Name in the annotation.

    Returns:
        Its path in ``index``; ``None`` if there is no such video.
    """
    stems = name, name.removeprefix('v_'), f'v_{name}'
    return next((index[stem] for stem in stems if stem in index), None)


def fill(split: Split, annotated: Iterable[tuple[str, int | None]], index: dict[str, str]) -> Split:
    """Fill a split: annotated videos, as (name, label), that were found and that are missing.

    Raises:
        UserError: If a path has a space: MMAction2's ``VideoDataset`` splits lines at spaces.
    """
    for name, label in annotated:
        if name in index:
            if ' ' in index[name]:
                raise UserError(
                    f'{split.folder / index[name]}: a list cannot hold a path with spaces; rename '
                    'the folder or file with underscores (docs/data.md has a command)'
                )
            if label is None:
                split.unlabelled.append(index[name])
            else:
                split.entries.append((index[name], label))
        else:
            split.missing.append(name)
    return split


def make_ucf101(place: Place) -> tuple[list[Split], list[str]]:
    """UCF101: ``UCF-101/<class>/v_*.avi`` and ``ucfTrainTestlist/``, three splits."""
    folder = place.video_folder('videos', 'UCF-101')
    index = index_videos(folder)
    usual = ('ucfTrainTestlist',)
    rows = place.find('classInd.txt', among=usual).read_text(**TEXT).split('\n')
    classes = [row.split()[1] for row in rows if row.strip()]
    splits = []
    for number, counts in ((1, (9537, 3783)), (2, (9586, 3734)), (3, (9624, 3696))):
        for part, source, count in zip(('train', 'val'), ('train', 'test'), counts, strict=True):
            text = place.find(f'{source}list{number:02d}.txt', among=usual).read_text(**TEXT)
            paths = [Path(line.split()[0]) for line in text.splitlines() if line.strip()]
            split = Split(f'ucf101_{part}_split_{number}_videos', folder, (count,))
            annotated = [(path.stem, classes.index(path.parts[0])) for path in paths]
            splits.append(fill(split, annotated, index))
    return splits, classes


def make_hmdb51(place: Place) -> tuple[list[Split], list[str]]:
    """HMDB51: ``<class>/*.avi`` and ``<class>_test_split<n>.txt`` (1 train, 2 test, 0 neither)."""
    folder = place.video_folder('videos', 'hmdb51_org')
    usual = 'testTrainMulti_7030_splits'
    names = 'hmdb51_{}_split_{}_videos'
    return _make_by_class(place, folder, index_videos(folder), usual, names, 3 * ((3570, 1530),))


def make_jhmdb(place: Place) -> tuple[list[Split], list[str]]:
    """JHMDB: ``<class>/*.avi`` or ``<class>/<name>/*.png``, and splits in HMDB51's form.

    If the folder has no video, the lists are for raw frames, ``folder num_frames label``.
    """
    folder = place.video_folder(
        *('videos', 'ReCompress_Videos', 'JHMDB_video/ReCompress_Videos'),
        *('rawframes', 'Rename_Images'),
    )
    index = index_videos(folder)
    lengths = {} if index else index_frames(folder)
    index |= {Path(path).name: path for path in lengths}
    names = f'jhmdb_{{}}_split_{{}}_{"rawframes" if lengths else "videos"}'
    counts = (660, 268), (658, 270), (663, 265)
    splits, classes = _make_by_class(place, folder, index, 'splits', names, counts)
    if lengths:
        for split in splits:
            split.entries = [(f'{path} {lengths[path]}', label) for path, label in split.entries]
    return splits, classes


def _make_by_class(
    place: Place,
    folder: Path,
    index: dict[str, str],
    usual: str,
    list_name: str,
    official: Sequence[tuple[int, int]],
) -> tuple[list[Split], list[str]]:
    """Make splits in HMDB51's form: a file per class and split, lines ``<name>.avi <part>``."""
    where = place.find('brush_hair_test_split1.txt', among=(usual,)).parent
    end = '_test_split1.txt'
    classes = sorted(path.name.removesuffix(end) for path in where.glob(f'[!.]*{end}'))
    splits = []
    for number, counts in enumerate(official, 1):
        annotated = {'1': [], '2': [], '0': []}
        for label, name in enumerate(classes):
            text = place.find(f'{name}_test_split{number}.txt', among=(usual,)).read_text(**TEXT)
            for line in text.splitlines():
                if line.strip():
                    video, part = line.split()
                    annotated[part].append((Path(video).stem, label))
        for part, key, count in zip(('train', 'val'), '12', counts, strict=True):
            split = Split(list_name.format(part, number), folder, (count,))
            splits.append(fill(split, annotated[key], index))
    return splits, classes


def make_sthv2(place: Place) -> tuple[list[Split], list[str]]:
    """Something-Something V2: ``<id>.webm`` and the JSON files of either release."""
    folder = place.video_folder('videos', '20bn-something-something-v2')
    index = index_videos(folder)

    def read(part: str):
        name = f'something-something-v2-{part}.json'
        return json.loads(place.find(name, f'{part}.json', among=('labels',)).read_bytes())

    labels = {template: int(number) for template, number in read('labels').items()}
    splits = []
    for part, source, count in (('train', 'train', 168913), ('val', 'validation', 24777)):
        annotated = [
            (str(row['id']), labels[row['template'].replace('[', '').replace(']', '')])
            for row in read(source)
        ]
        splits.append(fill(Split(f'sthv2_{part}_list_videos', folder, (count,)), annotated, index))
    return splits, sorted(labels, key=labels.get)


def make_kinetics(place: Place, version: int) -> tuple[list[Split], list[str]]:
    """Kinetics: ``<id>_<start>_<end>.mp4``, flat or by class, and a CSV for each split.

    CVDF's replacements of broken videos, in ``replacement/``, are used instead of the originals.
    """
    name = f'kinetics{version}'
    # Rows of the original annotation: CVDF's copy of Kinetics-400, the first release of 600.
    official = {400: (246534, 19906), 600: (392622, 30001)}[version]
    replaced = {
        name[:11]: path for name, path in index_videos(place.root / 'replacement').items()
    }  # by the id; a YouTube id has 11 characters
    splits, labels = [], {}
    for part, others, count in zip(
        ('train', 'val'), (('train',), ('val', 'validate')), official, strict=True
    ):
        if place.videos:
            folder = place.video_folder()
        else:
            folder = place.video_folder(f'videos_{part}', *others)
        table = place.find(
            *(f'{before}{word}.csv' for before in ('', 'kinetics_', f'{name}_') for word in others)
        )
        with table.open(newline='', **TEXT) as file:
            rows = list(csv.DictReader(file))
        if rows and not {'label', 'youtube_id', 'time_start', 'time_end'} <= rows[0].keys():
            raise UserError(
                f'{table}: its columns are {", ".join(rows[0])}; it needs label, youtube_id, '
                'time_start, time_end'
            )
        # MMAction2's order: sorted after replacing spaces with underscores, which sort differently.
        named = [(row['label'].strip('"').replace(' ', '_'), row) for row in rows]
        if part == 'train':
            labels = {label: i for i, label in enumerate(sorted({label for label, _ in named}))}
        annotated = []
        for label, row in named:
            if label not in labels:
                raise UserError(
                    f'{table}: no video of the training CSV has the class {label}; '
                    'use both files of one release'
                )
            start, end = int(float(row['time_start'])), int(float(row['time_end']))
            annotated.append((f'{row["youtube_id"]}_{start:06d}_{end:06d}', labels[label]))
        # With links resolved: `..` leads out of the folder that a link points to.
        prefix = os.path.relpath(
            os.path.realpath(place.root / 'replacement'), os.path.realpath(folder)
        )
        index = index_videos(folder)
        index |= {
            key: os.path.join(prefix, replaced[key[:11]])
            for key, _ in annotated
            if key[:11] in replaced
        }
        splits.append(fill(Split(f'{name}_{part}_list_videos', folder, (count,)), annotated, index))
    return splits, list(labels)


def make_activitynet(place: Place) -> tuple[list[Split], list[str]]:
    """ActivityNet 1.3: ``v_<id>.*`` or ``<id>.*``, and ``activity_net.v1-3.min.json``."""
    annotation = place.find('activity_net.v1-3.min.json', 'activity_net.v1-3.json')
    names = ('anet_{}_video', 'anet_anno_{}')
    folder = place.video_folder(*UNTRIMMED_FOLDERS)
    counts = {'train': (10024,), 'val': (4926,)}
    return _make_untrimmed(folder, index_videos(folder), annotation, *names, counts)


def make_hacs(place: Place) -> tuple[list[Split], list[str]]:
    """HACS: as ActivityNet, by class; Segments from its JSON, and Clips if its CSV exists.

    Clips is for pretraining (VCLR, Table 10): its list names every training video once, with the
    class it was collected for.
    """
    usual = [f'HACS_v1.1{minor}' for minor in ('.1', '')]
    releases = [f'v1.1{minor}' for minor in ('.1', '')]
    annotation = place.find(*(f'HACS_segments_{name}.json' for name in releases), among=usual)
    counts = {'train': (37613, 37618), 'val': (5981, 5982)}
    names = ('hacs_{}_video', 'hacs_anno_{}')
    folder = place.video_folder(*UNTRIMMED_FOLDERS)
    files = index_videos(folder)
    splits, classes = _make_untrimmed(folder, files, annotation, *names, counts)
    try:
        table = place.find(*(f'HACS_clips_{name}.csv' for name in releases), among=usual)
    except UserError:
        return splits, classes
    videos = {}
    with table.open(newline='', **TEXT) as file:
        for row in csv.DictReader(file):
            if row['subset'] == 'training':
                label = classes.index(row['classname'].replace('_', ' '))
                videos.setdefault(f'v_{row["youtube_id"]}', label)
    split = Split('hacs_clips_train_video', folder, (492753,))
    return [*splits, fill(split, videos.items(), _find(files, videos))], classes


def _find(files: dict[str, str], names: Iterable[str]) -> dict[str, str]:
    """Paths of the videos that exist, by their names in the annotation."""
    return {name: path for name in names if (path := find_video(files, name))}


def _make_untrimmed(
    folder: Path,
    files: dict[str, str],
    annotation: Path,
    list_name: str,
    anno_name: str,
    official: dict,
) -> tuple[list[Split], list[str]]:
    """Make lists of videos with their first label, and annotations for localization.

    A video without an action is only in the annotations.
    """
    database = json.loads(annotation.read_bytes())['database']
    classes = sorted({row['label'] for video in database.values() for row in video['annotations']})
    splits = []
    for part, subset in (('train', 'training'), ('val', 'validation')):
        videos = {f'v_{key}': v for key, v in database.items() if v['subset'] == subset}
        split = Split(list_name.format(part), folder, official[part])
        annotated = []
        for key, video in videos.items():
            actions = video['annotations']
            annotated.append((key, classes.index(actions[0]['label']) if actions else None))
        index = _find(files, videos)
        fill(split, annotated, index)
        durations = {key: float(videos[key]['duration']) for key in index}
        for key, seconds in durations.items():
            if seconds <= 0:
                raise UserError(
                    f'{annotation}: the duration of {key} is {seconds:g}; write its length in '
                    'seconds there, or take the video out'
                )
        paths = {key: str(folder / path) for key, path in index.items()}
        lengths, faults = _count_frames(list(paths.values()), f'Lengths of {part}')
        split.bad_videos = {key: faults[path] for key, path in paths.items() if path in faults}
        split.entries = [pair for pair in split.entries if str(folder / pair[0]) not in faults]
        split.unlabelled = [path for path in split.unlabelled if str(folder / path) not in faults]
        split.localization = anno_name.format(part)
        for key, seconds in durations.items():
            if key in split.bad_videos:
                continue
            frames = lengths[paths[key]]
            split.intervals[key] = dict(
                duration_second=seconds,
                duration_frame=frames,
                annotations=videos[key]['annotations'],
                # For features of all frames; tools/extract_bmn_features.py writes its own values.
                feature_frame=frames,
                fps=frames / seconds,
                rfps=frames / seconds,
            )
        splits.append(split)
    return splits, classes


def _count_frames(paths: list[str], description: str) -> tuple[dict[str, int], dict[str, str]]:
    """Count the frames of videos; returns the counts, and why other videos are bad, by path."""
    lengths = {}
    faults = run_pass(
        paths,
        _read_length,
        lambda length: lengths.update([length]),
        description=description,
        num_workers=workers_for(len(paths)),
        skip_bad=True,
    )
    return lengths, faults


def _read_length(path: str) -> Iterator[tuple[str, int]]:
    with VideoReader(path, timeout=TIMEOUT) as video:
        yield path, len(video)


MAKERS: dict[str, Callable[[Place], tuple[list[Split], list[str]]]] = {
    'ucf101': make_ucf101,
    'hmdb51': make_hmdb51,
    'jhmdb': make_jhmdb,
    'sthv2': make_sthv2,
    'kinetics400': lambda place: make_kinetics(place, 400),
    'kinetics600': lambda place: make_kinetics(place, 600),
    'activitynet': make_activitynet,
    'hacs': make_hacs,
}


def check_found(splits: Sequence[Split]) -> None:
    """Check that no list is empty.

    Raises:
        UserError: Names each empty list, what was looked for and where, and what was found there.
    """
    problems = []
    for split in splits:
        if split.entries:
            continue
        told = f'{split.name}.txt would be empty: '
        if split.missing:
            others = find_videos(split.folder)
            there = f'{len(others):,} others, such as {others[0]}' if others else 'no video at all'
            told += (
                f'none of {split.annotated:,} videos, named like {split.missing[0]}.mp4 (or .mkv, '
                f'.avi, …), is in {split.folder} at any depth; it has {there}'
            )
        elif split.bad_videos:
            video, reason = next(iter(split.bad_videos.items()))
            told += f'none of {split.annotated:,} videos can be read, such as {video} ({reason})'
        else:
            told += 'the annotation has no labelled video for it'
        problems.append(told)
    if problems:
        raise UserError(
            f'{"; ".join(problems)}; docs/data.md shows the layout; or set another folder '
            'with `videos=FOLDER`'
        )


def write_lists(name: str, place: Place, out: Path) -> list[Split]:
    """Write the lists of a data set, each complete or not at all.

    - ``<out>/<list>.txt``, lines ``path label``, if it has a video (see :func:`check_found`)
    - ``<out>/<list>.missing.txt``, if videos are missing
    - ``<out>/<list>.bad_videos.txt``, lines ``name<TAB>reason``, if videos cannot be read
    - ``<out>/<name>_classes.txt``, a class per line, in the order of labels
    - ``<out>/<annotation>.json`` for localization, in the form of MMAction2's
      ``ActivityNetDataset``; only for this, videos are opened

    Args:
        name: A key of :data:`MAKERS`.
        place: Where the data set is.
        out: Folder to write to.

    Returns:
        list[Split]: All splits, including those without a video.

    Raises:
        UserError: If the annotation cannot be found or read, none of its videos is found, or a
            path has a space.
    """
    try:
        splits, classes = MAKERS[name](place)
    except UserError:  # is a ValueError as well
        raise
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise UserError(
            f'the annotation of {name} in {place.annotations or place.root} cannot be read '
            f'({type(error).__name__}: {error}); download it again'
        ) from error
    if not any(split.annotated for split in splits):
        raise UserError(
            f'the annotation of {name} in {place.annotations or place.root} names no video; '
            'download it again'
        )
    if not any(split.entries for split in splits):
        check_found(splits)
    with atomic_path(out / f'{name}_classes.txt') as temporary:
        temporary.write_text(''.join(f'{line}\n' for line in classes))
    for split in splits:
        if split.entries:
            with atomic_path(out / f'{split.name}.txt') as temporary:
                write_list(temporary, split.entries)
        reports = {'missing': split.missing, 'bad_videos': map('\t'.join, split.bad_videos.items())}
        for word, lines in reports.items():
            report = out / f'{split.name}.{word}.txt'
            if text := ''.join(f'{line}\n' for line in lines):
                with atomic_path(report) as temporary:
                    temporary.write_text(text)
            else:
                report.unlink(missing_ok=True)
        if split.localization:
            write_json(out / f'{split.localization}.json', split.intervals)
    return splits
