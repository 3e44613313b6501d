"""Work directories and their checkpoints."""

import logging
import os
import re
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from mmssl_video.checkpoints.loading import load_checkpoint_file
from mmssl_video.errors import UserError

POINTER = 'last_checkpoint'  # MMEngine's: a file with the path of the latest one


def default_work_dir(cfg: Config) -> str:
    """The default work directory of a run: ``work_dirs/<name of the config>``.

    If the config reads the environment variable ``SPLIT``, as ``{{$SPLIT:1}}``, its value is added,
    ``_split1``: each split has its own folder, and ``--resume`` finds no checkpoint of another
    split.

    Args:
        cfg: The config as read from its file.
    """
    work_dir = f'work_dirs/{Path(cfg.filename).stem}'
    # MMEngine reports only those variables that are set and have been read.
    defaults = re.findall(r'\{\{\s*\$SPLIT\s*:\s*(\w+)\s*\}\}', cfg.text)
    return f'{work_dir}_split{os.environ.get("SPLIT", defaults[-1])}' if defaults else work_dir


def find_checkpoint(work_dir: str | Path) -> Path | None:
    """Find the newest checkpoint from which a run can continue.

    It is the one that ``last_checkpoint`` names: in this folder, even if it has been moved since,
    or in the hook's ``out_dir``. If there is no such file, or it cannot be read, it is the newest
    readable one of ``epoch_*.pth`` and ``iter_*.pth``; a warning names those that were skipped.

    Args:
        work_dir: Folder of the run; need not exist.

    Returns:
        The file, or ``None`` if there is none.

    Raises:
        UserError: If there are checkpoints, but none can be read, or ``last_checkpoint`` names one
            and there is none at all.
    """
    work_dir = Path(work_dir)
    name = re.compile(r'(epoch|iter)_\d+\.pth')
    found = [path for path in work_dir.glob('*.pth') if name.fullmatch(path.name)]
    found.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    pointer = work_dir / POINTER
    named = Path(pointer.read_text().strip()) if pointer.is_file() else Path()
    named = next((path for path in (work_dir / named.name, named) if path.is_file()), named)
    if named.is_file():
        found = [named, *(path for path in found if path.name != named.name)]
    elif named.name and found:
        print_log(f'{pointer} names {named}, which does not exist', 'current', logging.WARNING)
    elif named.name:
        raise UserError(
            f'{pointer} names {named}, which does not exist; name a checkpoint with `resume=PATH`, '
            f'or delete {pointer} to start again'
        )
    problems = []
    for path in found:
        try:
            content = load_checkpoint_file(path)
        except UserError as error:
            problem = str(error)
        else:
            missing = {'meta', 'state_dict', 'optimizer', 'message_hub'} - content.keys()
            if not missing:
                return path
            problem = f'{path}: has no {", ".join(sorted(missing))}, so no run can resume from it'
        problems.append(problem)
        print_log(f'skipped: {problem}', 'current', logging.WARNING)
    if problems:
        raise UserError(
            f'{work_dir}: no run can resume from any of its {len(problems)} checkpoints; the '
            f'newest: {problems[0]}; move them away to start again, or name one with `resume=PATH`'
        )
    return None
