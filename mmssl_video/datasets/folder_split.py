"""Split a user's folder into videos to pretrain on and to search in, and held-out queries.

The split is that of the folder's own ``train.txt`` and ``test.txt``, or else of its sub-folders
``train`` and ``test`` (or ``val``), which hold the class folders. Without these, a third of each
class folder is held out. Clips of one source stay on one side: two clips of one film look alike,
so finding one with the other says nothing about the class. The source is guessed from the name
(:func:`guess_sources`). From large folders a sample is drawn.
"""

import hashlib
import logging
import os.path as osp
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from mmssl_video.errors import UserError
from mmssl_video.video import VIDEO_SUFFIXES
from mmssl_video.video.find import require_folder

from .sources import FileCheck, find_sources, path_of, read_list, unlistable

MAX_TRAIN, MAX_QUERY, MAX_CLASSES = 1000, 400, 100  # limits of the sample
MIN_VIDEOS = 4  # to contrast them with each other
MIN_GALLERY = 5  # for R@5
MIN_CLASS = 3  # videos in a class folder; one of the three is held out
MIN_TITLE = 6  # letters and digits of a title that longer titles may extend
TRAIN_PART, QUERY_PARTS = 'train', ('test', 'val')  # in any case; `test` goes before `val`
MAX_SOURCE = 0.9  # of a class's videos; a larger "source" is only a common way of naming

# Attributes at the end of HMDB51's names: body, camera, number of persons, side, quality, number.
HMDB51 = re.compile(r'_[fhlu]_[cn]m_np\d+_(ba|fr|le|ri)_(bad|goo|med)_\d+$')
# Numbers, `_000012_000022` or ` (3)`; or a last word with a number, `_c03`; or digits, `film12`.
NUMBER = re.compile(r'([\W_]+\d+)+[\W_]*$|[\W_]+[^\W\d_]*\d+[\W_]*$|\d+$')

Labelled = list[tuple[str, int]]  # paths relative to the folder, and labels


@dataclass
class FolderSplit:
    """The result of :func:`split_folder`.

    Attributes:
        train (list[tuple[str, int]]): Videos to pretrain on and to search in: path relative to the
            folder, and label from 0; -1 without labels.
        query (list[tuple[str, int]]): Videos to search with, of classes that ``train`` has; empty
            without labels.
        class_names (list[str]): By label; empty without labels.
        notes (list[str]): Sentences for the user about how the split was made.
    """

    train: Labelled
    query: Labelled
    class_names: list[str]
    notes: list[str]


def split_folder(root: Path, seed: int = 0) -> FolderSplit:
    """Split a folder of videos by its lists, or else by its sub-folders.

    Files that are clearly no videos (missing, empty, text) are left out without decoding, and the
    log names them. At most `MAX_TRAIN` and `MAX_QUERY` videos of at most `MAX_CLASSES` classes are
    taken, the same number of each class as far as it has them. A draw depends on the names and the
    seed alone, so most samples stay the same when a video is added.

    Args:
        root: The folder. It is searched at any depth, with linked folders.
        seed: Seed of all draws.

    Raises:
        UserError: If the folder is missing or has too few videos, one of its lists is broken, or a
            query has a class that ``train`` does not have.
    """
    require_folder(root, 'give a folder of videos')
    lists = [root / name for name in ('train.txt', 'test.txt')]
    there = [path for path in lists if path.is_file()]
    if len(there) == len(lists):
        return _split_by_lists(root, *lists, seed)
    entries = _find_listable(root)
    if parts := _find_parts(_name(root, entry) for entry in entries):
        split = _split_by_parts(root, entries, parts, seed)
    else:
        split = _split_by_classes(root, entries, seed)
    if there:
        split.notes.insert(0, f'{there[0].name} is not used, because the other list is missing.')
    return split


# By lists -------------------------------------------------------------------------------------


def _split_by_lists(root: Path, train_list: Path, test_list: Path, seed: int) -> FolderSplit:
    train, train_lines = _read(root, train_list)
    query, query_lines = _read(root, test_list)
    if both := query_lines.keys() & train_lines.keys():
        name = min(both, key=query_lines.get)
        raise UserError(
            f'{test_list}, line {query_lines[name]}: {name} is in {train_list.name}, line '
            f'{train_lines[name]}, too; remove it from one of them'
        )
    _require_videos(train_list, train)
    notes = [
        f'Split by the lists of the folder: {len(train):,} videos of train.txt for pretraining '
        f'and as the gallery, {len(query):,} of test.txt as queries.'
    ]
    names: dict[int, str] = {}
    if any(label < 0 for _, label in (*train, *query)):
        notes.append('Not every line has a number as label, so the sub-folders are the classes.')
        names = dict(enumerate(sorted({_folder(name) for name, _ in (*train, *query)})))
        labels = {name: label for label, name in names.items()}
        train, query = ([(name, labels[_folder(name)]) for name, _ in x] for x in (train, query))
    elif all(_folder(name) for name, _ in train):
        # Folders name the classes if each folder has all videos of one class and no others.
        pairs = {(label, _folder(name)) for name, label in train}
        if len(pairs) == len({label for label, _ in pairs}) == len({name for _, name in pairs}):
            names = dict(pairs)
    known = {label for _, label in train}
    if '' in names.values() or len(known) < 2 or len(train) < MIN_GALLERY:
        notes[1:] = ['The lists do not give two classes or more: no labels are used.']
        return _without_labels([name for name, _ in train], seed, notes)
    for name, label in query:
        if label not in known:
            raise UserError(
                f'{test_list}, line {query_lines[name]}: no readable video of '
                f'{train_list.name} has its class, {names.get(label, label)}; add one, or remove '
                'the line'
            )
    names = {label: names.get(label, f'class {label}') for label in known}
    return _split_as_given(train, query, names, seed, notes)


def _read(root: Path, path: Path) -> tuple[Labelled, dict[str, int]]:
    """Read a list: its existing videos, each once, and the line number of every name."""
    entries = read_list(str(path), str(root))
    if not entries:
        raise UserError(f"{path}: has no line 'path label'; write some, or remove the list")
    lines: dict[str, int] = {}
    labels: dict[str, int] = {}
    for entry in entries:
        name = _name(root, entry)
        lines.setdefault(name, entry['line'])
        if labels.setdefault(name, entry['label']) != entry['label']:
            raise UserError(
                f'{path}, line {entry["line"]}: {name} has label {entry["label"]}, but '
                f'{labels[name]} in line {lines[name]}; correct one of them'
            )
    kept = dict.fromkeys(_name(root, entry) for entry in _check(entries, path))
    return [(name, labels[name]) for name in kept], lines


# By the folders train and test ----------------------------------------------------------------


def _find_parts(names: Iterable[str]) -> tuple[str, str] | None:
    """Find the names of the folders to pretrain on and to search with, if both exist."""
    folders = {folder.lower(): folder for folder in sorted({_folder(name) for name in names})}
    query = next((folders[name] for name in QUERY_PARTS if name in folders), None)
    return (folders[TRAIN_PART], query) if TRAIN_PART in folders and query else None


def _split_by_parts(
    root: Path, entries: list[dict], parts: tuple[str, str], seed: int
) -> FolderSplit:
    """Split by two sub-folders of the root, with the classes as their sub-folders."""
    members = [[e for e in entries if _folder(_name(root, e)) == part] for part in parts]
    num_unused = len(entries) - sum(map(len, members))
    train, query = (
        [_name(root, entry) for entry in _check(of_part, root / part)]
        for of_part, part in zip(members, parts, strict=True)
    )
    _require_videos(root / parts[0], train)
    known, asked = ({_folder(name, 1) for name in names} for names in (train, query))
    unused = [f'{num_unused:,} videos outside of these two are not used.'] if num_unused else []
    if '' in known | asked or len(known) < 2 or len(train) < MIN_GALLERY:
        note = (
            f'Of the folders {parts[0]} and {parts[1]}, only the first is used: their videos '
            'are not in two or more class sub-folders, so no labels are used.'
        )
        return _without_labels(train, seed, [note, *unused])
    if asked - known:
        raise UserError(
            f'{root / parts[1] / min(asked - known)}: {root / parts[0]} has no readable video of '
            'this class; add one, or remove the folder'
        )
    note = (
        f'Split by the folders {parts[0]} and {parts[1]}, whose sub-folders are the classes: '
        f'{len(train):,} videos of {parts[0]} for pretraining and as the gallery, '
        f'{len(query):,} of {parts[1]} as queries.'
    )
    names = dict(enumerate(sorted(known)))
    labels = {name: label for label, name in names.items()}
    train, query = ([(name, labels[_folder(name, 1)]) for name in x] for x in (train, query))
    return _split_as_given(train, query, names, seed, [note, *unused])


# By class folders -----------------------------------------------------------------------------


def _split_by_classes(root: Path, entries: list[dict], seed: int) -> FolderSplit:
    names = [_name(root, entry) for entry in (_check(entries, root) if entries else ())]
    _require_videos(root, names)
    sizes = Counter(map(_folder, names))
    num_gallery = sum(size - size // 3 for size in sizes.values())
    classed = '' not in sizes and len(sizes) > 1 and min(sizes.values()) >= MIN_CLASS
    if not classed or num_gallery < MIN_GALLERY:
        notes = [f'No class sub-folders with {MIN_CLASS} videos or more each: no labels are used.']
        return _without_labels(names, seed, notes)
    class_names = _draw_classes(sizes, seed)
    numbers = {name: label for label, name in enumerate(class_names)}
    kept = [name for name in names if _folder(name) in numbers]
    labels = np.array([numbers[_folder(name)] for name in kept])
    sources, unknown = _separate(guess_sources(kept), labels, kept)
    notes = [
        'The folder has no train.txt and test.txt, so a third of each class is held out as '
        'queries. Clips of one source stay on one side, if their names show the source.'
    ]
    if unknown:
        listed = ', '.join(class_names[label] for label in unknown[:5])
        listed += ', …' if len(unknown) > 5 else ''
        where = 'any class' if len(unknown) == len(numbers) else f'the classes {listed}'
        notes.append(
            f'Names do not show the source in {where}: clips of one source may be on both sides, '
            'which can raise R@1.'
        )
    rows = _draw(kept, labels, MAX_TRAIN * 3 // 2, seed)
    held_out = hold_out([sources[row] for row in rows], labels[rows], seed)
    train, query = (
        [(kept[row], int(labels[row])) for row in part]
        for part in (rows[~held_out], rows[held_out])
    )
    names_by_label = dict(enumerate(class_names))
    return _limit(train, query, names_by_label, seed, notes, len(names), len(sizes))


def guess_sources(names: Sequence[str]) -> list[str]:
    """Guess from ``class/…/name.suffix`` which videos are cut from one source, such as a film.

    1. If a video is in a sub-folder of its class folder, the sub-folder is the source.
    2. Otherwise the title is the name without the end that distinguishes clips of one film:
       HMDB51's attributes and the class (``Film_run_f_cm_np1_le_med_16``), the class and a number
       (``daria_walk2``), or numbers (``v_Golf_g08_c03``, ``ID_000012_000022``, ``clip (3)``).
    3. Titles are compared by their letters and digits alone, in any case. A title that extends
       another one of at least `MIN_TITLE` letters and digits has the same source: parts, or
       uploads, of one film.

    A guess that is too coarse does little harm. Where names do not show the source, the guess is
    too fine.

    Args:
        names: Paths relative to the root folder.

    Returns:
        A title for each video, perhaps ``''``; the same in all classes with clips of that source.
    """
    titles = [_title(name) for name in names]
    sources, source = {}, ''
    for title in sorted(set(titles)):  # each just before those that extend it
        if len(source) < MIN_TITLE or not title.startswith(source):
            source = title
        sources[title] = source
    return [sources[title] for title in titles]


def _title(name: str) -> str:
    folder, *between, file = Path(name).parts
    title = '/'.join(between)
    if not between:
        stem = Path(file).stem
        title = _class_end(folder).sub('', HMDB51.sub('', stem))
        if title == stem:
            title = NUMBER.sub('', stem)
    return ''.join(filter(str.isalnum, title)).casefold()


@cache
def _class_end(name: str) -> re.Pattern:
    """Matches a class at the end of a title, perhaps with a number."""
    words = r'[\W_]*'.join(re.findall(r'[^\W_]+', name))
    return re.compile(rf'(^|[\W_]+){words}[\W_]*\d*$', re.IGNORECASE)


def _separate(
    sources: list[str], labels: np.ndarray, names: list[str]
) -> tuple[list[str], list[int]]:
    """Split sources that hold nearly all of a class: each of their videos becomes a source.

    Returns:
        The sources, and the labels of those classes.
    """
    sizes = np.bincount(labels)
    counts = Counter(zip(sources, labels.tolist(), strict=True))
    too_large = {pair for pair, count in counts.items() if count > MAX_SOURCE * sizes[pair[1]]}
    given_up = {source for source, _ in too_large}
    # Names cannot be equal to titles: only names have a `/`.
    sources = [s if s not in given_up else name for s, name in zip(sources, names, strict=True)]
    return sources, sorted(label for _, label in too_large)


def hold_out(sources: Sequence[str], labels: np.ndarray, seed: int) -> np.ndarray:
    """Hold out about a third of each class, in whole sources.

    The sources are tried in an order drawn by the seed. A source is held out unless more than a
    third of a class would then be held out. If all sources of a class are too large for that, its
    smallest source that leaves videos of every class is held out.

    Args:
        sources: Source of each of N videos. A source may have videos of several classes.
        labels: int [N], from 0.
        seed: Seed of the order.

    Returns:
        bool [N], which videos are held out.
    """
    unique, source_of = np.unique(np.asarray(sources), return_inverse=True)
    counts = np.zeros((len(unique), labels.max() + 1), dtype=np.int64)
    np.add.at(counts, (source_of, labels), 1)
    total, held = counts.sum(axis=0), np.zeros(counts.shape[1], dtype=np.int64)
    chosen = np.zeros(len(unique), dtype=bool)
    order = np.argsort([_turn(source, seed) for source in unique.tolist()])
    for source in order:
        if (held + counts[source] <= total // 3)[counts[source] > 0].all():
            chosen[source] = True
            held += counts[source]
    for label in np.flatnonzero(held == 0):
        of_class = order[counts[order, label] > 0]
        for source in sorted(of_class, key=lambda source: counts[source].sum()):
            if not held[label] and (held + counts[source] < total)[counts[source] > 0].all():
                chosen[source] = True
                held += counts[source]
    return chosen[source_of]


# Samples --------------------------------------------------------------------------------------


def _split_as_given(
    train: Labelled, query: Labelled, names: dict[int, str], seed: int, notes: list[str]
) -> FolderSplit:
    """Draw a sample of a user's own split, with classes that both sides have."""
    drawn = _draw_classes(names if len(names) <= MAX_CLASSES else {k for _, k in query}, seed)
    names_drawn = {label: names[label] for label in drawn}
    return _limit(train, query, names_drawn, seed, notes, len(train) + len(query), len(names))


def _limit(
    train: Labelled,
    query: Labelled,
    names: dict[int, str],
    seed: int,
    notes: list[str],
    num_videos: int,
    num_classes: int,
) -> FolderSplit:
    """Draw a sample of the classes in ``names``, and renumber their labels."""
    numbers = {label: number for number, label in enumerate(names)}
    parts = []
    for entries, most in ((train, MAX_TRAIN), (query, MAX_QUERY)):
        kept = [(name, numbers[label]) for name, label in entries if label in numbers]
        labels = np.array([label for _, label in kept], dtype=np.int64)
        parts.append([kept[row] for row in _draw([name for name, _ in kept], labels, most, seed)])
    num_taken = sum(map(len, parts))
    if num_taken < num_videos:
        some = f', from {len(names)} of {num_classes} classes' if len(names) < num_classes else ''
        notes.append(_told(num_taken, num_videos, f'{some}, balanced by class'))
    return FolderSplit(*parts, list(names.values()), notes)


def _draw_classes(classes: Collection, seed: int) -> list:
    """Draw at most `MAX_CLASSES` labels or names, and sort them."""
    return sorted(sorted(classes, key=lambda each: _turn(str(each), seed))[:MAX_CLASSES])


def _without_labels(names: list[str], seed: int, notes: list[str]) -> FolderSplit:
    rows = _draw(names, np.zeros(len(names), dtype=np.int64), MAX_TRAIN, seed)
    if len(rows) < len(names):
        notes.append(_told(len(rows), len(names)))
    return FolderSplit([(names[row], -1) for row in rows], [], [], notes)


def _told(num_taken: int, num_videos: int, how: str = '') -> str:
    return f'A quick look: a sample of {num_taken:,} of {num_videos:,} videos is taken{how}.'


def _draw(names: Sequence[str], labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Draw positions of some of N videos, the same number of each class as far as it has them."""
    turns = np.array([_turn(name, seed) for name in names], dtype=np.uint64)
    place = np.zeros(len(names), dtype=np.int64)  # of each video within its class
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members[np.argsort(turns[members])]] = np.arange(len(members))
    return np.sort(np.lexsort((turns, place))[:most])


def _turn(name: str, seed: int) -> int:
    """A random number of 64 bits that depends on the name and the seed."""
    key = f'{seed} {name}'.encode(errors='surrogateescape')
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), 'big')


# Names ----------------------------------------------------------------------------------------


def _name(root: Path, entry: dict) -> str:
    return path_of(entry).removeprefix(osp.join(root, ''))


def _folder(name: str, depth: int = 0) -> str:
    """The class in a path: its folder at this depth, or ``''``."""
    folders = Path(name).parts[:-1]
    return folders[depth] if len(folders) > depth else ''


def _find_listable(root: Path) -> list[dict]:
    """Search a folder; leave out videos whose names no list can hold, with a warning for each."""
    entries = []
    for entry in find_sources(str(root)):
        if reason := unlistable(_name(root, entry)):
            print_log(f'left out: {path_of(entry)!r}: {reason}', 'current', logging.WARNING)
        else:
            entries.append(entry)
    return entries


def _check(entries: list[dict], source: Path) -> list[dict]:
    """Leave out entries that are no videos, with a warning that names them."""
    return FileCheck().leave_out_bad(entries, str(source), skip=True, remedy='')[0]


def _require_videos(source: Path, videos: Sequence) -> None:
    if len(videos) < MIN_VIDEOS:
        raise UserError(
            f'{source}: holds {len(videos)} videos ({", ".join(VIDEO_SUFFIXES)}); {MIN_VIDEOS} or '
            'more are needed to contrast them with each other'
        )
