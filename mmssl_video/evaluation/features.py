"""Features on disk, for all evaluations: a file or a folder per list of videos."""

import json
import os
import sys
import zipfile
import zlib
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmssl_video.errors import UserError
from mmssl_video.files import atomic_path, write_json
from mmssl_video.settings import differences, tell
from mmssl_video.video.find import os_fault

KEYS = ('features', 'labels', 'names')
CHUNK_VALUES = 2**22  # values of `features` in memory at a time
EXTRACT_AGAIN = 'write the file again with tools/extract_features.py'
# Extraction settings that may differ between comparable sets. Names of files (`NAMES`) may differ
# too, if all other settings are equal.
FREE = ('dataset', 'per_clip', 'videos')
NAMES = {'checkpoint', 'config'}


@dataclass
class FeatureSet:
    """One feature vector for each of N videos, or for each of N frames or clips of videos.

    The arrays are checked and cast when the object is made, so every instance is valid.
    Memory-mapped features stay memory-mapped: they are checked in parts and never cast.

    Args:
        features (np.ndarray): float32 [N, D], finite, N and D at least 1.
        labels (np.ndarray): int64 [N], class numbers from 0; -1 if unknown.
        names (np.ndarray): unicode [N], the video's path in its list.
        source (str): Name of this set in error messages; the path for a loaded one. Not saved.
        clips (np.ndarray, optional): int64 [N], number of the frame or clip in its video, from 0;
            ``None`` if a row is a whole video.
        settings (dict, optional): Settings that the features depend on, from
            ``extraction_settings``; ``None`` if unknown.

    Raises:
        UserError: If an array has the wrong kind, shape or length, or a feature is not finite.
    """

    features: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    source: str = 'feature set'
    clips: np.ndarray | None = None
    settings: dict | None = None

    def __post_init__(self) -> None:  # noqa: D105
        for key, kinds, wanted, dtype in (
            ('features', 'fiu', 'floating-point numbers', np.float32),
            ('labels', 'iu', 'integers (-1 for unknown)', np.int64),
            ('names', 'U', 'unicode strings', np.str_),
            ('clips', 'iu', 'integers', np.int64),
        ):
            if key == 'clips' and self.clips is None:
                continue
            array = np.asanyarray(getattr(self, key))  # keeps a memory map
            ndim = 2 if key == 'features' else 1
            if array.ndim != ndim:
                shape = '[N, D]' if ndim == 2 else '[N]'
                self._fail(f"'{key}' has shape {list(array.shape)} instead of {shape}")
            if array.size == 0:
                self._fail(f"'{key}' is empty, shape {list(array.shape)}")
            if array.dtype.kind not in kinds:
                self._fail(f"'{key}' holds {array.dtype} instead of {wanted}")
            if key == 'features' and isinstance(array, np.memmap) and array.dtype != dtype:
                self._fail(f"'{key}' holds {array.dtype} instead of float32")
            with np.errstate(over='ignore'):  # an overflow to infinity is reported below
                setattr(self, key, array.astype(dtype, copy=False))

        if not isinstance(self.settings, dict | None):
            self._fail(f"'settings' are {self.settings!r:.40} instead of names with values")
        lengths = {key: len(array) for key, array in self._arrays().items()}
        if len(set(lengths.values())) > 1:
            counts = ', '.join(f"'{key}' {length}" for key, length in lengths.items())
            self._fail(f'arrays differ in length: {counts}')
        rows = max(1, CHUNK_VALUES // self.dim)
        bad = [
            start + np.flatnonzero(~np.isfinite(self.features[start : start + rows]).all(axis=1))
            for start in range(0, len(self), rows)
        ]
        if num_bad := sum(map(len, bad)):
            self._fail(
                f"'features' has {num_bad} of {len(self)} rows with values that are not finite,"
                f' the first is {self.names[np.concatenate(bad)[0]]}',
                'check that video and the checkpoint, then extract again',
            )

    def _arrays(self) -> dict[str, np.ndarray]:
        keys = KEYS if self.clips is None else (*KEYS, 'clips')
        return {key: getattr(self, key) for key in keys}

    def _fail(self, problem: str, remedy: str = EXTRACT_AGAIN) -> None:
        raise UserError(f'{self.source}: {problem}; {remedy}')

    def __len__(self) -> int:
        """Return the number of rows N."""
        return len(self.features)

    @property
    def dim(self) -> int:
        """Number of features D in a row."""
        return self.features.shape[1]

    def save(self, path: str | os.PathLike) -> None:
        """Write the arrays to one ``.npz`` file, or each to a ``.npy`` file in a folder.

        The settings are saved too, as JSON text in the file, or as ``settings.json`` in the folder.
        A file is written atomically. In a folder, ``features.npy`` is written last: if it exists,
        the folder is complete.

        Args:
            path: A name that ends in ``.npz``, or any other name for a folder, which may exist.

        Raises:
            UserError: If ``path`` cannot be written, or is a folder with other files.
        """
        path = Path(path)
        arrays = self._arrays()
        check_folder(path)
        if path.suffix == '.npz':
            if self.settings is not None:
                arrays['settings'] = np.array(json.dumps(self.settings))
            with atomic_path(path) as temporary, open(temporary, 'wb') as file:
                np.savez(file, **arrays)
            return
        if path.is_dir():
            for name in ('features.npy', 'clips.npy', 'settings.json'):
                (path / name).unlink(missing_ok=True)
        if self.settings is not None:
            write_json(path / 'settings.json', self.settings)
        for key in reversed(arrays):
            with atomic_path(path / f'{key}.npy') as temporary, open(temporary, 'wb') as file:
                np.save(file, arrays[key])

    @classmethod
    def load(cls, path: str | os.PathLike) -> 'FeatureSet':
        """Read a file or folder of :meth:`save`, or another one with the same arrays.

        ``features`` of a folder are memory-mapped, read-only. Pickled objects are never loaded, so
        a file from an untrusted source cannot run code.

        Args:
            path: The ``.npz`` file or the folder.

        Returns:
            FeatureSet: Its content, with ``source`` set to the path.

        Raises:
            UserError: If the file is missing, may not be read, is not an ``.npz`` file, lacks an
                array, or has one that :class:`FeatureSet` refuses.
        """
        path = Path(path)
        arrays = {}
        key = None
        try:
            if path.is_dir():
                files = [*sorted(path.glob('*.npy')), *path.glob('settings.json')]
                opened = nullcontext({file.stem: file for file in files})
            elif not path.is_file():
                raise UserError(f'{path}: no such file; make it with tools/extract_features.py')
            else:
                with path.open('rb') as file:  # is_zipfile(path) would hide why it cannot be opened
                    if not zipfile.is_zipfile(file):
                        raise UserError(f'{path}: not an .npz file, or cut short; {EXTRACT_AGAIN}')
                opened = np.load(path, allow_pickle=False)
            with opened as stored:
                for key in (*KEYS, 'clips', 'settings'):
                    if key in stored:
                        arrays[key] = stored[key]
                        if key == 'settings':
                            is_file = isinstance(stored[key], Path)
                            text = stored[key].read_text() if is_file else str(stored[key])
                            arrays[key] = json.loads(text)
                        elif isinstance(arrays[key], Path):
                            mode = 'r' if key == 'features' else None
                            arrays[key] = np.load(arrays[key], mmap_mode=mode, allow_pickle=False)
                    elif key in KEYS:
                        found = ', '.join([*stored][:4]) or 'nothing'
                        found += ', …' if len(stored) > 4 else ''
                        raise UserError(
                            f"{path}: lacks the array '{key}' (it holds {found}); {EXTRACT_AGAIN}"
                        )
        except UserError:
            raise
        except PermissionError as error:
            raise UserError(f'{path}: {os_fault(path, error)}; make it readable') from error
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            part = f'the array {key!r} ' if key else ''
            raise UserError(f'{path}: {part}cannot be read ({error}); {EXTRACT_AGAIN}') from error
        return cls(**arrays, source=str(path))

    def require_labels(self) -> None:
        """Check that every video has a label.

        Raises:
            UserError: If a label is negative.
        """
        unknown = self.labels < 0
        if unknown.any():
            self._fail(
                f"'labels' of {unknown.sum()} of {len(self)} videos are unknown (-1), the first"
                f' is {self.names[np.argmax(unknown)]}',
                'give every line of the annotation list a label and extract again',
            )

    def require_videos(self) -> None:
        """Check that a row is a whole video.

        With clips, a search would find other clips of the query's own video and count them as
        videos. A classifier may use clips: it averages its scores over those of a test video.

        Raises:
            UserError: If a row is a frame or clip.
        """
        if self.clips is not None:
            self._fail(
                "a row is a frame or clip (it has the array 'clips'), but neighbours are searched"
                ' among whole videos',
                'extract again with `per_clip=False`',
            )

    def num_shared(self, other: 'FeatureSet') -> int:
        """Count the videos that both sets have, by name; see :func:`shared_note`."""
        return len(np.intersect1d(self.names, other.names))

    def require_same_dim(self, other: 'FeatureSet') -> None:
        """Check that another set has the same number of features per video.

        Raises:
            UserError: If D differs.
        """
        if self.dim != other.dim:
            raise UserError(
                f"'features' of {self.source} have {self.dim} columns, those of {other.source}"
                f' {other.dim}; extract both with the same config and checkpoint'
            )


def check_folder(path: str | os.PathLike) -> None:
    """Check that features may be written to a path: a folder must have no other files.

    Raises:
        UserError: If it has, for example prepared videos; names one of them.
    """
    own = {*(f'{key}.npy' for key in (*KEYS, 'clips')), 'settings.json'}
    found = {name for name in os.listdir(path) if name[0] != '.'} if os.path.isdir(path) else set()
    others = sorted(found - own)
    if others and not Path(path, 'features.npy').exists():
        raise UserError(
            f'{path}: holds other files, such as {others[0]}; choose a folder of its own for the '
            'features'
        )


def load_pair(
    first: str | os.PathLike, second: str | os.PathLike, allow_different: bool = False
) -> tuple[FeatureSet, FeatureSet]:
    """Load two sets that are evaluated together, and compare the settings of their features.

    Features are only comparable if one encoder, with one pipeline, has made them. The videos may
    differ, and one set may have clips and the other whole videos. If a set has no settings, a
    warning says that they were not compared.

    Args:
        first, second: Paths for :meth:`FeatureSet.load`.
        allow_different: Whether to skip the comparison.

    Raises:
        UserError: If a set cannot be loaded, or settings differ; names them and their values.
    """
    sets = FeatureSet.load(first), FeatureSet.load(second)
    if allow_different:
        return sets
    unknown = [found.source for found in sets if 'checkpoint' not in (found.settings or {})]
    if unknown:
        print(
            f'warning: {" and ".join(unknown)}: the file does not say which encoder made the '
            'features, so it cannot be compared',
            file=sys.stderr,
        )
    else:
        differ = {
            path: values
            for path, values in differences(sets[0].settings, sets[1].settings).items()
            if path not in FREE
        }
        if differ.keys() - NAMES:
            raise UserError(
                f'{sets[0].source} and {sets[1].source} have features of different settings '
                f'({tell(differ)}); extract both in the same way, or give `allow_different=True`'
            )
    return sets


def shared_note(num_shared: int) -> str:
    """Note for the user if two sets that are evaluated together share videos."""
    return (
        f'{num_shared} videos are in both sets, by name; a result on those says nothing about new '
        'ones'
    )
