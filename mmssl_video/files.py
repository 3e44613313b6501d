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
    """Give a temporary path beside ``path`` and move it there if the block succeeds.

    Missing parent folders are made. An interrupted or failed block leaves an older file at
    ``path`` as it was, and no temporary file.

    Args:
        path: Where the file shall be.

    Yields:
        Path: The path to write to.

    Raises:
        UserError: If the file cannot be written: a folder, no permission, no space.
    """
    path = Path(path)
    # The process id keeps two runs that write the same result from sharing a temporary file.
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open('rb') as written:
                os.fsync(written.fileno())  # its name must not be on disk before its content
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f'{path}: cannot be written ({error.strerror or error}); choose another path'
        ) from error


def claim_folder(folder: str | os.PathLike, settings: dict, content: str) -> None:
    """Write the settings of what a folder holds, or compare them with what is there.

    Args:
        folder: It gets, or has, a ``settings.json``.
        settings: What ``json`` can write.
        content: What is in the folder, in a word, for the message.

    Raises:
        UserError: If the folder holds things of other settings.
    """
    path = Path(folder) / 'settings.json'
    if not path.exists():
        write_json(path, settings)
        return
    if differ := differences(json.loads(path.read_text()), settings):
        raise UserError(
            f'{folder} holds {content} of other settings than are asked for ({tell(differ)}); ask '
            'for the same ones, or move or delete this folder'
        )


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Write ``content`` as indented JSON, atomically; NaN and infinity are refused.

    Args:
        path: Where the file shall be.
        content: What ``json`` can write.

    Raises:
        ValueError: If a number is not finite; JSON has no word for it.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + '\n')
