"""Load checkpoints without running code that they may hold."""

import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.utils import digit_version

from mmssl_video.errors import UserError
from mmssl_video.video.find import os_fault, require_file

TRUST_VARIABLE = 'MMSSL_TRUST_CHECKPOINT'


def _under_name(module, name, function):
    """Wrap a function such that a pickle may call it as ``module.name``, and do nothing else."""

    def allowed(*args):
        return function(*args)

    allowed.__module__, allowed.__name__, allowed.__qualname__ = module, name, name
    return allowed


def _history_buffer_method(owner, name):
    """The `getattr` of a pickle, only for HistoryBuffer's statistics in MMEngine's checkpoints."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError('Unsupported global: GLOBAL builtins.getattr')
    return getattr(owner, name)


# The objects other than tensors that MMEngine's Runner writes: the message hub's HistoryBuffers,
# with their numpy arrays and scalars. numpy 1 and 2 have different names for the two functions.
_ALLOWED = [
    HistoryBuffer,
    _under_name('builtins', 'getattr', _history_buffer_method),
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in np.typecodes['AllInteger'] + np.typecodes['Float'] + '?'},
    *(
        _under_name(f'{module}.multiarray', function.__name__, function)
        for module in ('numpy.core', 'numpy._core')
        for function in (np.array(0).__reduce__()[0], np.float64(0).__reduce__()[0])
    ),
]


class _RestrictedPickle:
    """A ``pickle_module`` for `torch.load` that resolves only the allowed names.

    For torch < 2.6: its ``weights_only=True`` takes no list and could be bypassed
    (CVE-2025-32434).
    """

    class Unpickler(pickle.Unpickler):
        """Finds tensors' building blocks and the members of ``_ALLOWED``."""

        names = {f'{entry.__module__}.{entry.__name__}': entry for entry in _ALLOWED} | {
            f'torch._utils.{name}': getattr(torch._utils, name)
            for name in ('_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_parameter')
        }

        def find_class(self, module, name):
            """Resolve a name: pickle asks for each global, torch for all but storages."""
            plain = module == 'torch' and isinstance(getattr(torch, name, None), torch.dtype)
            if plain or (module, name) in {
                ('collections', 'OrderedDict'),
                ('torch', 'Size'),
                ('torch', 'device'),
                ('torch.nn.parameter', 'Parameter'),
                ('_codecs', 'encode'),
            }:
                return super().find_class(module, name)
            try:  # torch.save's protocol 2 has Python 2's name for builtins
                return self.names[f'{module}.{name}'.replace('__builtin__', 'builtins')]
            except KeyError:
                raise pickle.UnpicklingError(f'GLOBAL {module}.{name}') from None

    @classmethod
    def load(cls, file, **kwargs):
        """Load a file in torch's format before 1.6, which calls this function."""
        return cls.Unpickler(file, **kwargs).load()


def _load_allowed(path, map_location):
    """Load tensors and the objects of ``_ALLOWED``; anything else is an UnpicklingError."""
    if digit_version(torch.__version__) < digit_version('2.6.0'):
        return torch.load(path, map_location, pickle_module=_RestrictedPickle, weights_only=False)
    with torch.serialization.safe_globals(_ALLOWED):
        return torch.load(path, map_location, weights_only=True)


def load_checkpoint_file(
    path: str | Path, trust: bool = False, map_location: Any = 'cpu'
) -> dict[str, Any]:
    """Load a checkpoint without running code that it may hold.

    Args:
        path: A local file: a plain state dict, one written by MMEngine's Runner, or a state dict
            in Hugging Face's ``safetensors`` format, which holds only tensors.
        trust: Whether the file may hold any Python object, and so run any code. Setting the
            environment variable ``MMSSL_TRUST_CHECKPOINT=1`` trusts every file.
        map_location: As in `torch.load`.

    Returns:
        The dict that the file holds.

    Raises:
        UserError: If there is no such file, it may not be read, it is not a checkpoint, it needs
            ``safetensors`` and that is not installed, or it is not trusted and holds something
            other than tensors, numbers, strings and MMEngine's log buffers.
    """
    path = Path(path).expanduser()
    require_file(path, 'no such checkpoint file; check the path')
    try:
        path.open('rb').close()
    except PermissionError as error:
        raise UserError(f'{path}: {os_fault(path, error)}; make it readable') from error
    trust = trust or os.environ.get(TRUST_VARIABLE) == '1'
    try:
        if path.suffix == '.safetensors':
            loaded = _read_safetensors(path, map_location)
        elif trust:
            loaded = torch.load(path, map_location, weights_only=False)
        else:
            loaded = _load_allowed(path, map_location)
    except (torch.cuda.OutOfMemoryError, UserError):  # the file is sound
        raise
    except Exception as error:  # the error depends on where a file is broken
        culprit = re.search(r'GLOBAL ([\w.]+)', str(error))
        if culprit:
            raise UserError(
                f'{path}: holds {culprit[1]}, which could run code on loading; if you trust where '
                f'the file comes from, set {TRUST_VARIABLE}=1 (or `trust=True`, where there '
                'is one)'
            ) from error
        reason = re.split(r'\n|\. ', str(error).strip())[0] or type(error).__name__
        raise UserError(
            f'{path}: cannot be read as a PyTorch checkpoint, it may be cut short or another kind '
            f'of file ({reason}); fetch it again'
        ) from error
    if not isinstance(loaded, dict):
        raise UserError(
            f'{path}: holds a {type(loaded).__name__}, not a dict of weights; save its state_dict()'
        )
    return loaded


def _read_safetensors(path: Path, map_location: Any) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(f'{path}: needs safetensors; pip install safetensors') from error
    return load_file(path, device='cpu' if map_location is None else str(map_location))
