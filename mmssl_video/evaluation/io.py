"""Result files that are either complete or absent, never half written."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmssl_video.errors import UserError


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
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f'{path}: cannot be written ({error.strerror or error}); choose another path'
        ) from error


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
