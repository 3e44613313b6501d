"""Result files that are either complete or absent, never half written."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmssl_video.errors import UserError
from mmssl_video.settings import differences, tell


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path next to ``path`` and move it there if the block succeeds.

    Missing parent folders are created. If the block fails or is interrupted, an older file at
    ``path`` is unchanged, and no temporary file is left.

    Args:
        path: Path of the file.

    Yields:
        Path: The path to write to.

    Raises:
        UserError: If the file cannot be written: it is a folder, no permission, no space.
    """
    path = Path(path)
    # With the process id, two runs that write the same result do not share a temporary file.
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open('rb') as written:
                os.fsync(written.fileno())  # the content must be on disk before the name
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f'{path}: cannot be written ({error.strerror or error}); choose another path'
        ) from error


def claim_folder(folder: str | os.PathLike, settings: dict, content: str) -> None:
    """Write the settings of a folder's content, or compare them with those already there.

    Args:
        folder: The folder; its ``settings.json`` is written or read.
        settings: Values that ``json`` can write.
        content: A word for the folder's content, for the message.

    Raises:
        UserError: If the folder has other settings.
    """
    path = Path(folder) / 'settings.json'
    if not path.exists():
        write_json(path, settings)
        return
    if differ := differences(json.loads(path.read_text()), settings):
        raise UserError(
            f'{folder} holds {content} of other settings ({tell(differ)}); use the same settings, '
            'or move or delete this folder'
        )


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Write ``content`` as indented JSON, atomically; NaN and infinity are refused.

    Args:
        path: Path of the file.
        content: Values that ``json`` can write.

    Raises:
        ValueError: If a number is not finite; JSON cannot represent it.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + '\n')
