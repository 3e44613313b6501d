"""Find the videos of a data set: read lists, search folders, check the files."""

import codecs
import io
import itertools
import logging
import os
import os.path as osp
import re
import shlex
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

from mmengine.logging import print_log
from rich.console import Console
from rich.progress import track

from mmssl_video.errors import UserError
from mmssl_video.video import VIDEO_SUFFIXES, find_videos
from mmssl_video.video.find import (
    file_fault,
    find_backend,
    is_local,
    os_fault,
    require_folder,
    walk,
)

CHECKS = ('full', 'existence', 'none')
Found = TypeVar('Found')
NUM_THREADS, FILES_PER_TASK = 16, 256  # threads hide the latency of a network disk
MANY_FILES = 20_000  # from this number on, the check of files shows its progress
MAX_NAMED = 20  # left-out files that are named one by one
# Byte order marks. UTF-32's come first, because one of them begins with UTF-16's.
MARKS = {
    codecs.BOM_UTF32_LE: 'utf-32',
    codecs.BOM_UTF32_BE: 'utf-32',
    codecs.BOM_UTF8: 'utf-8-sig',
    codecs.BOM_UTF16_LE: 'utf-16',
    codecs.BOM_UTF16_BE: 'utf-16',
}
# A path that ends in the suffix of a video. The match goes to the last such place in the line.
VIDEO_PATH = re.compile(rf'.*(?:{"|".join(map(re.escape, VIDEO_SUFFIXES))})(?!\S)', re.IGNORECASE)
NUMBER = re.compile(r'-?\d+')


# Lists ----------------------------------------------------------------------------------------


def read_lines(path: str, backend_args: dict | None = None) -> list[str]:
    """Read a list in UTF-8 or, with a byte order mark, in UTF-16 or UTF-32.

    The bytes of other encodings do not show which one it is, and a wrong guess gives paths that do
    not exist.

    Args:
        path: The list, or its URI.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        The lines without their ends.

    Raises:
        UserError: If it cannot be read, or has another encoding.
    """
    backend = find_backend(path, backend_args)
    try:
        content = backend.get(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            reason = 'no such annotation list'
        else:
            reason = f'cannot be read as a list ({error.strerror or error})'
        raise UserError(f'{path}: {reason}; correct its path') from error
    encoding = next((MARKS[mark] for mark in MARKS if content.startswith(mark)), 'utf-8')
    if encoding == 'utf-8' and b'\0' in content:
        raise UserError(_no_text(path, content))
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(_wrong_encoding(path, content, error)) from None
    return [line.rstrip('\n') for line in io.StringIO(text, newline=None)]


def _no_text(path: str, content: bytes) -> str:
    for order, half in (('LE', content[1::2]), ('BE', content[::2])):
        if half.count(0) > len(half) / 2:  # most letters have one zero byte of two
            return (
                f'{path}: looks like UTF-16 without a byte order mark; write the list in UTF-8: '
                f'{_iconv(path, f"UTF-16{order}")}'
            )
    return f'{path}: holds null bytes, so it is not a list; give a text file with a path per line'


def _wrong_encoding(path: str, content: bytes, error: UnicodeDecodeError) -> str:
    if error.encoding != 'utf-8':
        return f'{path}: is cut short or not {error.encoding.upper()}; write the list in UTF-8'
    line = content.count(b'\n', 0, error.start) + 1
    # In Latin-1, these bytes are control characters; in Windows' code page, letters and quotes.
    windows = re.search(rb'[\x80-\x9f]', content)
    name, code = ('Windows-1252', 'CP1252') if windows else ('Latin-1', 'LATIN1')
    return (
        f'{path}, line {line}: is not UTF-8 (byte 0x{content[error.start]:02x}), it looks like '
        f'{name} or another code page; write the list in UTF-8: {_iconv(path, code)}'
    )


def _iconv(path: str, encoding: str) -> str:
    name, suffix = osp.splitext(osp.basename(path))
    copy = shlex.quote(f'{name}_utf8{suffix}')
    return f'iconv -f {encoding} -t UTF-8 {shlex.quote(path)} > {copy}'


def read_list(
    path: str,
    root: str,
    raw_frames: bool = False,
    backend_args: dict | None = None,
    lines: list[str] | None = None,
) -> list[dict]:
    """Read an annotation list of MMAction2. Labels may be missing, and paths may have spaces.

    A label is one integer. Lines with several labels, or with words, get the label -1, and a
    warning says how many there are.

    Args:
        path: The list, with lines ``path [label]``, or ``folder num_frames [label]``.
        root: Folder that its paths are relative to; a URI is used unchanged.
        raw_frames: Whether the lines name folders of frames.
        backend_args: Arguments of MMEngine's file backend.
        lines: From :func:`read_lines`, if the list has been read already.

    Returns:
        For each line ``filename``, or ``frame_dir`` and ``total_frames``; ``label``; and its number
        ``line``.

    Raises:
        UserError: If the list or a line cannot be read.
    """
    entries: list[dict] = []
    counts: Counter[str] = Counter()  # lines without a usable label, by what they have instead
    examples: dict[str, str] = {}
    split = _split_frames_line if raw_frames else split_video_line

    def exists(name: str) -> bool:
        full = join(root, name)
        return is_local(full, backend_args) and osp.exists(full)

    lines = read_lines(path, backend_args) if lines is None else lines
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line:
            continue
        parts = split(line, exists)
        if parts is None:
            raise UserError(
                f"{path}, line {number}: {line!r} is not of the form 'folder num_frames "
                "[label]'; correct the line"
            )
        name, labels = parts
        num_frames = labels.pop(0) if raw_frames else None
        label = -1
        if len(labels) == 1 and NUMBER.fullmatch(labels[0]):
            label = int(labels[0])
        elif labels:
            numeric = all(NUMBER.fullmatch(label) for label in labels)
            kind = 'several labels' if numeric else 'a word for a label'
            counts[kind] += 1
            examples.setdefault(kind, f'line {number}: {" ".join(labels)!r}')
        entry = {
            'frame_dir' if raw_frames else 'filename': join(root, name),
            'label': label,
            'line': number,
        }
        if raw_frames:
            entry['total_frames'] = int(num_frames)
        entries.append(entry)
    if counts:
        told = [f'{number:,} with {kind} ({examples[kind]})' for kind, number in counts.items()]
        print_log(
            f'{path}: of {len(entries):,} lines, {" and ".join(told)}; monitors and evaluation '
            'need one integer, so these have no label (-1); pretraining needs none',
            logger='current',
            level=logging.WARNING,
        )
    return entries


def unlistable(name: str) -> str | None:
    """Why a list cannot hold a name; ``None`` if it can."""
    if '\n' in name or '\r' in name:
        return 'its name has a line break, which no list can hold; rename it'
    if name != name.strip():
        return 'its name begins or ends with a blank, which a list would lose; rename it'
    try:
        name.encode()
    except UnicodeEncodeError:
        return 'its name is not UTF-8, so no list can hold it; rename it'
    return None


def path_of(entry: dict) -> str:
    """Path or URI of the video, or of the folder of frames, of an entry or a sample."""
    return entry.get('filename') or entry['frame_dir']


def join(root: str, name: str) -> str:
    """Join a path of a list to ``root``; absolute paths and URIs stay unchanged.

    ``./a.mp4`` and ``b//a.mp4`` become ``a.mp4`` and ``b/a.mp4``, so that a video has one name.
    """
    return name if '://' in name else osp.join(root, PurePosixPath(name))


def split_video_line(line: str, exists: Callable[[str], bool]) -> tuple[str, list[str]]:
    """Split a line into its path, as written, and labels.

    The path ends in a video's suffix, or else before the numbers. If there are several numbers,
    ``exists`` tells the path.
    """
    if match := VIDEO_PATH.match(line):
        return match[0], line[match.end() :].split()
    return _split_numbers(line, 0, exists)


def _split_frames_line(line: str, exists: Callable[[str], bool]) -> tuple[str, list[str]] | None:
    """Split into folder, and number of frames and labels; ``None`` if there is no such number."""
    path, words = _split_numbers(line, 1, exists)
    if not words and (match := re.fullmatch(r'(.*\S)\s+(\d+)\s+(\D.*)', line)):
        path, words = match[1], [match[2], *match[3].split()]
    return (path, words) if words and words[0].isdigit() else None


def _split_numbers(
    line: str, num_columns: int, exists: Callable[[str], bool]
) -> tuple[str, list[str]]:
    """Split off the integers at the end; if there are several labels, such that the path exists."""
    words = line.split()
    numbers = list(itertools.takewhile(NUMBER.fullmatch, reversed(words[1:])))
    usual = min(len(numbers), num_columns + 1)
    # A path may also end in numbers.
    counts = range(len(numbers), num_columns, -1) if len(numbers) > usual else ()
    count = next((n for n in counts if exists(line.rsplit(None, n)[0])), usual)
    return line.rsplit(None, count)[0], words[len(words) - count :]


# Searching folders ----------------------------------------------------------------------------


def find_sources(
    root: str, frame_template: str | None = None, backend_args: dict | None = None
) -> list[dict]:
    """Search a folder for videos, or for folders of frames.

    Args:
        root: The folder, or its URI.
        frame_template: File name of a frame, with one place for its number; ``None`` looks for
            videos.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        Entries as from :func:`read_list`, sorted by path, without ``line``.

    Raises:
        UserError: If there is no such folder, or it cannot be searched.
    """
    backend = find_backend(root, backend_args)
    if not hasattr(backend, 'list_dir_or_file'):
        raise UserError(
            f'{root}: {backend.name} cannot list a folder; give a list of the videos instead'
        )
    remedy = 'give an existing folder of videos'
    if is_local(root, backend_args):
        require_folder(root, remedy)
    elif not backend.isdir(root):
        raise UserError(f'{root}: no such folder; {remedy}')
    if frame_template is None:
        return [
            {'filename': osp.join(root, name), 'label': -1}
            for name in find_videos(root, backend_args)
        ]
    pattern = _frame_pattern(frame_template)
    if pattern is None:
        raise UserError(
            f'filename_tmpl is {frame_template!r}; to search a folder it needs one '
            "placeholder for the frame number, such as 'img_{:05}.jpg'"
        )
    counts = (
        (folder, sum(pattern.fullmatch(name) is not None for name in names))
        for folder, names in walk(root, backend_args)
    )
    return [
        {'frame_dir': osp.join(root, folder), 'total_frames': count, 'label': -1}
        for folder, count in sorted(counts)
        if count
    ]


def _frame_pattern(template: str) -> re.Pattern | None:
    """Pattern of the names of frames; ``None`` if the template has not exactly one number."""
    parts = re.split(r'\{.*?\}', template)
    return re.compile(r'(\d+)'.join(map(re.escape, parts))) if len(parts) == 2 else None


# Looking at the files -------------------------------------------------------------------------


def signature(path: str) -> list[int] | None:
    """Size of a local file and time of its last change; ``None`` if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def signatures(paths: Sequence[str]) -> list[list[int] | None]:
    """The :func:`signature` of many files."""
    parts = look_at_files(len(paths), lambda numbers: [signature(paths[n]) for n in numbers])
    return list(itertools.chain.from_iterable(parts))


def look_at_files(num_files: int, look: Callable[[range], Found]) -> Iterator[Found]:
    """Look at files in threads, with a progress bar if they are many.

    Args:
        num_files: Number of the files.
        look: Looks at the files of a range of numbers.

    Yields:
        The results for consecutive ranges.
    """
    step = NUM_THREADS * FILES_PER_TASK
    console = Console(stderr=True)
    if num_files >= MANY_FILES and not console.is_terminal:
        print_log(f'looking at {num_files:,} files', logger='current')
    rounds = track(
        range(0, num_files, step),
        'Looking at the files',
        console=console,
        disable=num_files < MANY_FILES or not console.is_terminal,
        transient=True,
    )
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        for start in rounds:  # only the tasks of one round are in memory
            numbers = range(start, min(start + step, num_files))
            tasks = [numbers[n : n + FILES_PER_TASK] for n in range(0, step, FILES_PER_TASK)]
            yield from pool.map(look, tasks)


@dataclass
class FileCheck:
    """Checks local files before videos are decoded. Files of other backends are not checked.

    Args:
        kind: ``'full'`` reads the head of each video, and compares the numbers of raw frames with
            the expected ones; ``'existence'`` only checks that the file or folder exists;
            ``'none'`` checks nothing.
        frame_template: File name of a raw frame.
        start_index: Number of the first raw frame.
        backend_args: Arguments of MMEngine's file backend.
    """

    kind: str = 'full'
    frame_template: str = 'img_{:05}.jpg'
    start_index: int = 1
    backend_args: dict | None = None

    def __post_init__(self) -> None:
        self._pattern = _frame_pattern(self.frame_template)
        self._frame_names: list[str] = []  # of the longest folder so far

    def find_faults(self, entries: list[dict]) -> dict[int, tuple[str, str]]:
        """Find why entries cannot be read, with a specific remedy or ``''``, by their numbers."""
        if self.kind == 'none':
            return {}

        def look(numbers: range) -> dict[int, tuple[str, str]]:
            return {number: fault for number in numbers if (fault := self._fault(entries[number]))}

        faults = {}
        for found in look_at_files(len(entries), look):
            faults |= found
        return faults

    def leave_out_bad(
        self, entries: list[dict], source: str, skip: bool, remedy: str
    ) -> tuple[list[dict], dict[str, str]]:
        """Check the files. Leave out those that cannot be read, or raise an error.

        Args:
            entries: From :func:`read_list` or :func:`find_sources`; their ``line`` is removed.
            source: The list or folder that they come from.
            skip: Whether to leave bad files out with a warning, instead of raising an error.
            remedy: Remedy to name in the error.

        Returns:
            The remaining entries, and why the others were left out, by path.

        Raises:
            UserError: If a file cannot be read and ``skip`` is false, or if no entry remains.
        """
        faults = self.find_faults(entries)
        lines = [entry.pop('line', None) for entry in entries]
        if not faults:
            return entries, {}
        left_out, messages = {}, []
        for number, (reason, _) in faults.items():
            where = source if lines[number] is None else f'{source}, line {lines[number]}'
            path = path_of(entries[number])
            left_out[path] = reason
            messages.append(f'{where}: {path} {reason}')
        remedies = [own_remedy for _, own_remedy in faults.values()]
        if not skip or len(faults) == len(entries):
            others = f' ({len(faults) - 1:,} more cannot be read)' if len(faults) > 1 else ''
            if len(faults) == len(entries):
                others += ', so no video is left'
                remedy = 'check the paths, and the folder that they are relative to'
            raise UserError(f'{messages[0]}{others}; {remedies[0] or remedy}')
        messages = ['; '.join(filter(None, pair)) for pair in zip(messages, remedies, strict=True)]
        if len(messages) > MAX_NAMED:
            others = f'{len(messages) - MAX_NAMED:,} more of {len(entries):,} like these'
            messages[MAX_NAMED:] = [others]
        for message in messages:
            print_log(f'left out: {message}', logger='current', level=logging.WARNING)
        return [entry for number, entry in enumerate(entries) if number not in faults], left_out

    def _fault(self, entry: dict) -> tuple[str, str] | None:
        path, read = path_of(entry), self.kind == 'full'
        if not is_local(path, self.backend_args):
            return None
        if 'filename' in entry:
            fault = file_fault(path, read)
            windows = fault == 'does not exist' and '\\' in path
            return fault and (fault, 'write / for \\ in the list' if windows else '')
        try:
            if not stat.S_ISDIR(os.stat(path).st_mode):
                return 'is a file, not a folder', ''
            names = set(os.listdir(path)) if read and self._pattern else None
        except OSError as error:
            return os_fault(path, error), ''
        if not entry['total_frames']:
            return 'has no frames', ''
        return None if names is None else self._frames_fault(names, entry['total_frames'])

    def _frames_fault(self, names: set[str], total: int) -> tuple[str, str] | None:
        """Compare the files of a folder with the frames that it should hold."""
        first, template = self.start_index, self.frame_template
        if total <= len(names):  # otherwise a wrong total could fill the memory with names
            expected = self._frame_names
            if len(expected) < total:
                more = (template.format(first + i) for i in range(len(expected), total))
                expected = self._frame_names = [*expected, *more]
            if names.issuperset(expected[:total]):
                return None
        numbers = {int(match[1]) for name in names if (match := self._pattern.fullmatch(name))}
        numbers = sorted(number for number in numbers if template.format(number) in names)
        if not numbers:
            return f'holds no frames named like {template.format(first)}', (
                'set filename_tmpl of the dataset to their names'
            )
        low, high, last = numbers[0], numbers[-1], first + total - 1
        reason = f'has frames {low} to {high}, expected {first} to {last}'
        shifted = low < first or (low > first and len(numbers) >= total)
        if shifted and high - low + 1 == len(numbers):
            return (
                reason,
                f'set start_index={low} of the dataset, or number the frames from {first}',
            )
        there = {number for number in numbers if first <= number <= last}
        num_missing = min(last, high) - first + 1 - len(there)
        if num_missing > 0:
            missing = next(number for number in itertools.count(first) if number not in there)
            others = f' and {num_missing - 1:,} more' if num_missing > 1 else ''
            return f'{reason}, of which {template.format(missing)}{others} is missing', (
                'number the frames without gaps, or leave the folder out'
            )
        return reason, 'correct the number of frames in the list'
