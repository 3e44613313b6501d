"""Features on disk: one ``.npz`` per list of videos, the common ground of all evaluations."""

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmssl_video.errors import UserError
from mmssl_video.files import atomic_path

KEYS = ('features', 'labels', 'names')
EXTRACT_AGAIN = 'write the file again with tools/extract_features.py'


@dataclass
class FeatureSet:
    """One feature vector for each of N videos.

    The arrays are checked and cast when the object is made, so every instance is sound.

    Args:
        features (np.ndarray): float32 [N, D], finite, N and D at least 1. Not normalised.
        labels (np.ndarray): int64 [N], class numbers from 0; -1 where unknown.
        names (np.ndarray): unicode [N], the video's path as its list has it.
        source (str): What error messages call this set; the path for a loaded file. Not saved.

    Raises:
        UserError: If an array has the wrong kind, shape or length, or a feature is not finite.
    """

    features: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    source: str = 'feature set'

    def __post_init__(self) -> None:  # noqa: D105
        for key, kinds, wanted, dtype in (
            ('features', 'fiu', 'floating-point numbers', np.float32),
            ('labels', 'iu', 'integers (-1 for unknown)', np.int64),
            ('names', 'U', 'unicode strings', np.str_),
        ):
            array = np.asarray(getattr(self, key))
            ndim = 2 if key == 'features' else 1
            if array.ndim != ndim:
                shape = '[N, D]' if ndim == 2 else '[N]'
                self._fail(f"'{key}' has shape {list(array.shape)} instead of {shape}")
            if array.size == 0:
                self._fail(f"'{key}' is empty, shape {list(array.shape)}")
            if array.dtype.kind not in kinds:
                self._fail(f"'{key}' holds {array.dtype} instead of {wanted}")
            with np.errstate(over='ignore'):  # an overflow to infinity is reported below
                setattr(self, key, array.astype(dtype, copy=False))

        lengths = {key: len(getattr(self, key)) for key in KEYS}
        if len(set(lengths.values())) > 1:
            counts = ', '.join(f"'{key}' {length}" for key, length in lengths.items())
            self._fail(f'arrays differ in length: {counts}')
        finite = np.isfinite(self.features).all(axis=1)
        if not finite.all():
            self._fail(
                f"'features' has {np.sum(~finite)} of {len(finite)} rows with values that are not"
                f' finite, the first is {self.names[np.argmin(finite)]}',
                'check that video and the checkpoint, then extract again',
            )

    def _fail(self, problem: str, remedy: str = EXTRACT_AGAIN) -> None:
        raise UserError(f'{self.source}: {problem}; {remedy}')

    def __len__(self) -> int:
        """Return the number of videos N."""
        return len(self.features)

    @property
    def dim(self) -> int:
        """The number of features D of one video."""
        return self.features.shape[1]

    def save(self, path: str | os.PathLike) -> None:
        """Write ``features``, ``labels`` and ``names`` to an ``.npz`` file, atomically.

        Args:
            path: The file, written under exactly this name.
        """
        with atomic_path(path) as temporary, open(temporary, 'wb') as file:
            np.savez(file, features=self.features, labels=self.labels, names=self.names)

    @classmethod
    def load(cls, path: str | os.PathLike) -> 'FeatureSet':
        """Read a file that :meth:`save` wrote, or one made elsewhere with the same three arrays.

        Pickled objects are never loaded, so a file from an untrusted source runs no code.

        Args:
            path: The ``.npz`` file.

        Returns:
            FeatureSet: Its content, with ``source`` set to the path.

        Raises:
            UserError: If the file is missing, is not an ``.npz`` file, lacks an array, or holds
                one that :class:`FeatureSet` refuses.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f'{path}: no such file; make it with tools/extract_features.py')
        if not zipfile.is_zipfile(path):
            raise UserError(f'{path}: not an .npz file, or cut short; {EXTRACT_AGAIN}')
        arrays = {}
        try:
            with np.load(path, allow_pickle=False) as file:
                for key in KEYS:
                    if key not in file:
                        found = ', '.join(file.files) or 'nothing'
                        raise UserError(
                            f"{path}: lacks the array '{key}' (it holds {found}); {EXTRACT_AGAIN}"
                        )
                    arrays[key] = file[key]
        except UserError:
            raise
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(
                f"{path}: the array '{key}' cannot be read ({error}); {EXTRACT_AGAIN}"
            ) from error
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

    def require_same_dim(self, other: 'FeatureSet') -> None:
        """Check that another set has as many features per video.

        Raises:
            UserError: If D differs.
        """
        if self.dim != other.dim:
            raise UserError(
                f"'features' of {self.source} have {self.dim} columns, those of {other.source}"
                f' {other.dim}; extract both with the same config and checkpoint'
            )
