"""Shared functions of the pictures: names of classes, and writing a matplotlib figure."""

import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

from mmssl_video.errors import UserError
from mmssl_video.files import atomic_path

FORMATS = ('.png', '.jpg', '.pdf', '.svg')


def picture_format(path: str | os.PathLike) -> str:
    """Get the format from a file's suffix, such as ``'png'``, in lower case.

    Raises:
        UserError: If it is not one of ``FORMATS``.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f'{path}: pictures end in {", ".join(FORMATS)}; choose one of these')
    return suffix[1:]


def save_figure(path: str | os.PathLike, figure: Figure, dpi: int) -> None:
    """Write a figure, atomically, in the format of the suffix; its texts may be any file names.

    Raises:
        UserError: If the suffix is not one of ``FORMATS``, or the file cannot be written.
    """
    file_format = picture_format(path)
    for text in figure.findobj(Text):  # no font has the bytes of a name that are not UTF-8
        text.set_text(text.get_text().encode(errors='replace').decode())
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=file_format, dpi=dpi)


def read_class_names(path: str | os.PathLike, last_label: int | None = None) -> list[str]:
    """Read a file with the name of a class on each line, from label 0 on, as in MMAction2.

    Args:
        path: The file.
        last_label: Largest label that needs a name; by default, any number of names is accepted.

    Raises:
        UserError: If the file cannot be read as text, or has too few names.
    """
    try:
        names = Path(path).read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or 'not a text file'
        raise UserError(
            f'{path}: cannot be read ({reason}); give a file with the name of a class on each line'
        ) from error
    if last_label is not None and len(names) <= last_label:
        raise UserError(
            f'{path}: {len(names)} names, but there is a label {last_label}; give every class a '
            'line, from label 0 on'
        )
    return names


def class_name(label: int, class_names: Sequence[str] | None) -> str:
    """Name a label; ``class 3`` without a name, ``unknown`` below 0."""
    if label < 0:
        return 'unknown'
    named = class_names is not None and label < len(class_names)
    return class_names[label] if named else f'class {label}'
