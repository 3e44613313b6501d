"""Every workaround for an upstream fault, and no other code.

`apply`, which ``import mmssl_video`` calls, runs those in `WORKAROUNDS`; `prepare_launch`,
`Bf16OptimWrapper` and `load_checkpoint_file` are used by name. Each does nothing where upstream is
sound. The faults, with where to read more and the version that has them:

- 1: ``import mmaction.models`` fails, the wheel lacks ``localizers/drn``. mmaction2 issue 2714;
  mmaction2 1.2.0 from PyPI.
- 2: Checkpoints with MMEngine's own objects cannot be loaded, or run any code a file holds.
  mmengine issue 1655, pull request 1650; mmengine 0.10.7 with torch >= 2.6, before 2.6.
- 3: ``pkg_resources`` is gone; ``setuptools<82`` in setup.py. mmengine 0.10.7, package_utils.
- 4: The Runner stops at its start if torchvision is broken. mmengine 0.10.7, collect_env.
- 5: ``torchvision://`` weights need torchvision for their address. mmengine 0.10.7, checkpoint.
- 6: ``ResNetTSM(pretrained=None)`` fails without ``pretrained2d=False``. mmaction2 1.2.0.
- 7: Several processes on a CPU: ``torch.cuda.set_device`` fails. mmengine 0.10.7, init_dist.
- 8: Then DistributedDataParallel refuses ``device_ids``. mmengine 0.10.7, Runner.wrap_model.
- 9: ``AmpOptimWrapper`` refuses a CPU. mmengine 0.10.7.
- 10: Top-k accuracy cannot read bfloat16 scores. mmaction2 1.2.0, BaseHead.
- 11: ``ANetMetric`` scores the first process's videos alone, forgets videos of a batch, alters its
  config, and cannot do without proposals, actions or a file. mmaction2 1.2.0, anet_metric.py.
- 20: ``_base_ = 'package::...'`` misses a package installed with ``pip install -e``. mmengine
  0.10.7, package_utils.
- 23: On a CPU with AMX, bfloat16 gives some 3D convolutions wrong gradients, NaN or a crash. torch
  2.13.0, its oneDNN; seen with kernels (3, 1, 1) on large maps and (3, 7, 7) on single frames.
- 24: A file is written in place, so that a kill leaves it half written: a checkpoint that replaces
  the last one, and all is lost. mmengine 0.10.7, LocalBackend.
- 25: ``frozen_stages`` in several processes: DistributedDataParallel waits for gradients of stages
  that the backbone freezes after it has been wrapped. mmaction2 1.2.0, mmengine 0.10.7.
- 26: BMN fails on videos without an action, and its loss is NaN for a batch whose actions are too
  short for its proposals. mmaction2 1.2.0, GenerateLocalizationLabels and BMNLoss.
- 27: Each process of a test writes the metrics to one file, which mixes their texts. mmengine
  0.10.7, LoggerHook.
- 28: ``Flip`` writes into the frames that it is given, which two views may share. mmaction2 1.2.0.

Numbers 12 to 17 are kept away by the version bounds in setup.py or by tools of our own; 18, 19, 21
and 22 were faults of decoders that nothing here uses.
"""

import contextlib
import copy
import functools
import importlib
import importlib.util
import os
import pickle
import re
import sys
import types
import warnings
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import mmengine
import numpy as np
import torch
from mmaction.registry import OPTIM_WRAPPERS
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import barrier, get_dist_info, master_only
from mmengine.fileio import LocalBackend
from mmengine.hooks import LoggerHook
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner, checkpoint
from mmengine.runner.amp import autocast
from mmengine.utils import digit_version
from mmengine.utils.package_utils import package2module

from .errors import UserError
from .files import atomic_path


def _replace(owner, name, wrap):
    """Sets ``owner.name`` to ``wrap(upstream)``, once however often it is called."""
    upstream = getattr(owner, name)
    if not hasattr(upstream, '_mmssl_upstream'):
        replacement = functools.wraps(upstream)(wrap(upstream))
        replacement._mmssl_upstream = upstream
        setattr(owner, name, replacement)


# 1 ------------------------------------------------------------------------------------------
def stub_missing_drn():
    """Fault 1: gives ``mmaction.models.localizers`` the ``drn.drn`` module its wheel lacks.

    A source installation has the module; then nothing is done.
    """
    name = 'mmaction.models.localizers.drn'
    package = importlib.util.find_spec('mmaction')
    folders = [os.path.join(p, 'models', 'localizers') for p in package.submodule_search_locations]
    if name in sys.modules or PathFinder.find_spec('drn', folders):
        return

    class DRN:
        """Stands where MMAction2's DRN localizer should be; building one is an error."""

        def __init__(self, *args, **kwargs):
            raise UserError('DRN is not in the mmaction2 wheel; install mmaction2 from source')

    stub, stub_drn = types.ModuleType(name), types.ModuleType(f'{name}.drn')
    stub.__path__, stub.drn, stub_drn.DRN = [], stub_drn, DRN
    sys.modules.update({name: stub, f'{name}.drn': stub_drn})


# 2 ------------------------------------------------------------------------------------------
TRUST_VARIABLE = 'MMSSL_TRUST_CHECKPOINT'


def _under_name(module, name, function):
    """A function that a pickle may call, and no more, by the name ``module.name``."""

    def allowed(*args):
        return function(*args)

    allowed.__module__, allowed.__name__, allowed.__qualname__ = module, name, name
    return allowed


def _history_buffer_method(owner, name):
    """What pickle needs `getattr` for in a checkpoint of MMEngine: HistoryBuffer's statistics."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError('Unsupported global: GLOBAL builtins.getattr')
    return getattr(owner, name)


# What MMEngine's Runner writes beside tensors: the message hub's HistoryBuffers, with their
# numpy arrays and scalars. numpy 1 and 2 keep the two functions under different names.
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
    """A ``pickle_module`` for `torch.load` that resolves the allowed names and nothing else.

    For torch < 2.6, whose ``weights_only=True`` takes no list and could be got round
    (CVE-2025-32434).
    """

    class Unpickler(pickle.Unpickler):
        """Finds tensors' building blocks and the members of ``_ALLOWED``."""

        names = {f'{entry.__module__}.{entry.__name__}': entry for entry in _ALLOWED} | {
            f'torch._utils.{name}': getattr(torch._utils, name)
            for name in ('_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_parameter')
        }

        def find_class(self, module, name):
            """Called by pickle for each global, and by torch for all but storages."""
            plain = module == 'torch' and isinstance(getattr(torch, name, None), torch.dtype)
            if plain or (module, name) in {
                ('collections', 'OrderedDict'),
                ('torch', 'Size'),
                ('torch', 'device'),
                ('torch.nn.parameter', 'Parameter'),
                ('_codecs', 'encode'),
            }:
                return super().find_class(module, name)
            try:  # protocol 2, torch.save's, has Python 2's name of builtins
                return self.names[f'{module}.{name}'.replace('__builtin__', 'builtins')]
            except KeyError:
                raise pickle.UnpicklingError(f'GLOBAL {module}.{name}') from None

    @classmethod
    def load(cls, file, **kwargs):
        """The function of this name that torch's format before 1.6 calls."""
        return cls.Unpickler(file, **kwargs).load()


def _load_allowed(path, map_location):
    """Loads tensors and the objects of ``_ALLOWED``; anything else is an UnpicklingError."""
    if digit_version(torch.__version__) < digit_version('2.6.0'):
        return torch.load(path, map_location, pickle_module=_RestrictedPickle, weights_only=False)
    with torch.serialization.safe_globals(_ALLOWED):
        return torch.load(path, map_location, weights_only=True)


def load_checkpoint_file(
    path: str | Path, trusted: bool = False, map_location: Any = 'cpu'
) -> dict[str, Any]:
    """Loads a checkpoint without running code that it may hold.

    Args:
        path: A local file: a plain state dict, or one as MMEngine's Runner writes.
        trusted: Whether the file may hold any Python object, and so run any code. Setting the
            environment variable ``MMSSL_TRUST_CHECKPOINT=1`` trusts every file.
        map_location: As in `torch.load`.

    Returns:
        The dict that the file holds.

    Raises:
        UserError: If there is no such file, it is not a checkpoint, or it is not trusted and
            holds something other than tensors, numbers, strings and MMEngine's log buffers.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f'{path}: no such checkpoint file; check the path')
    trusted = trusted or os.environ.get(TRUST_VARIABLE) == '1'
    try:
        if trusted:
            loaded = torch.load(path, map_location, weights_only=False)
        else:
            loaded = _load_allowed(path, map_location)
    except torch.cuda.OutOfMemoryError:  # the file is sound
        raise
    except Exception as error:  # what a broken file raises depends on where it is broken
        culprit = re.search(r'GLOBAL ([\w.]+)', str(error))
        if culprit:
            raise UserError(
                f'{path}: holds {culprit[1]}, which could run code on loading; if you trust where '
                f'the file comes from, set {TRUST_VARIABLE}=1 (or --trust, where a tool has it)'
            ) from error
        reason = str(error).strip().split('\n')[0] or type(error).__name__
        raise UserError(
            f'{path}: cannot be read as a PyTorch checkpoint, it may be cut short or another kind '
            f'of file ({reason[:120]}); fetch it again'
        ) from error
    if not isinstance(loaded, dict):
        raise UserError(
            f'{path}: holds a {type(loaded).__name__}, not a dict of weights; save its state_dict()'
        )
    return loaded


def load_checkpoints_safely():
    """Fault 2: every checkpoint that MMEngine or MMAction2 loads goes through our loader.

    That is `load_from`, `init_cfg=dict(type='Pretrained')`, `init_recognizer` and resuming, from a
    file or a web address.
    """

    def load_from_local(filename, map_location):
        return load_checkpoint_file(filename, map_location=map_location)

    def load_from_http(filename, map_location=None, model_dir=None, progress=True):
        folder = Path(model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints'))
        path = folder / Path(urlparse(filename).path).name

        def download():
            folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                torch.hub.download_url_to_file(filename, str(path), progress=progress)

        # As upstream: the first process downloads, the others wait and find the file there.
        if get_dist_info()[0] == 0:
            download()
        barrier()
        download()
        return load_checkpoint_file(path, map_location=map_location)

    _replace(checkpoint, 'load_from_local', lambda upstream: load_from_local)
    _replace(checkpoint, 'load_from_http', lambda upstream: load_from_http)
    register = checkpoint.CheckpointLoader.register_scheme
    register('', checkpoint.load_from_local, force=True)
    register(('http://', 'https://'), checkpoint.load_from_http, force=True)


# 4, 5 ---------------------------------------------------------------------------------------
def survive_broken_torchvision():
    """Fault 4: a torchvision that cannot be imported counts as one that is not installed.

    torchvision must fit torch exactly; a wheel built for another torch raises RuntimeError or
    OSError, where MMEngine, which only wants its version, expects ModuleNotFoundError.
    """

    def hide_if_broken(upstream):
        def collect_env():
            try:
                import torchvision  # noqa: F401
            except ModuleNotFoundError:
                pass
            except Exception as error:
                warnings.warn(f'torchvision is broken and not used: {error}', stacklevel=2)
                sys.modules['torchvision'] = None  # importing it is a ModuleNotFoundError now
            return upstream()

        return collect_env

    _replace(sys.modules['mmengine.runner.runner'], 'collect_env', hide_if_broken)


def find_torchvision_urls():
    """Fault 5: ``torchvision://resnet50`` finds its address in MMEngine's own list."""

    def fall_back(upstream):
        def get_torchvision_models():
            try:
                return upstream()
            except (ImportError, RuntimeError, OSError):  # not installed, or broken as in fault 4
                hub = Path(mmengine.__file__).parent / 'hub'
                return mmengine.load(hub / 'torchvision_0.12.json')

        return get_torchvision_models

    _replace(checkpoint, 'get_torchvision_models', fall_back)


# 6 ------------------------------------------------------------------------------------------
def let_tsm_start_from_scratch():
    """Fault 6: ``pretrained=None`` means random weights, whatever ``pretrained2d`` says."""
    from mmaction.models import ResNetTSM

    def without_weights(upstream):
        def init_weights(self):
            self.pretrained2d = self.pretrained2d and bool(self.pretrained)
            return upstream(self)

        return init_weights

    _replace(ResNetTSM, 'init_weights', without_weights)


# 7, 8 ---------------------------------------------------------------------------------------
def prepare_launch(cfg: Config, launcher: str) -> None:
    """Faults 7 and 8: makes a config run in several processes on a CPU.

    To be called before ``Runner.from_cfg(cfg)``; MMEngine itself then starts the process group, for
    each of its launchers.

    Args:
        cfg: The run's config. Of several processes, one that the others wait for longer than
            ``env_cfg.dist_cfg.timeout`` seconds ends the run; the default is 600, as NCCL has it.
            On a CPU, ``env_cfg.dist_cfg.backend`` becomes gloo; ``model_wrapper_cfg`` keeps its
            entries and has ``device_ids=None``; ``sync_bn``, which torch has for GPUs alone, goes,
            with a warning.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
    """
    if launcher == 'none':
        return
    cfg.env_cfg = cfg.get('env_cfg') or ConfigDict()
    cfg.env_cfg.dist_cfg = {'timeout': 600, **cfg.env_cfg.get('dist_cfg', {})}
    if get_device() != 'cpu':
        return
    torch.cuda.set_device = lambda device: None
    cfg.env_cfg.dist_cfg.backend = 'gloo'
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,  # as MMEngine's own default
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = {**wrapper, 'device_ids': None}
    if cfg.pop('sync_bn', None):
        warnings.warn(
            'sync_bn is ignored on a CPU: each process normalises over its own batch', stacklevel=2
        )


# 9, 10 --------------------------------------------------------------------------------------
@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Fault 9: mixed precision in bfloat16, on a GPU or a CPU.

    bfloat16 has the range of float32, so no loss needs scaling. Arguments as `OptimWrapper`.

    Fault 23: for networks with 3D convolutions, a CPU's AMX is left alone, and bfloat16 brings
    little. Those of images alone keep it.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        weights = (weight for group in self.param_groups for weight in group['params'])
        if get_device() == 'cpu' and any(weight.dim() == 5 for weight in weights):
            # oneDNN reads it once, at its first operation, and a run has had none yet.
            os.environ.setdefault('ONEDNN_MAX_CPU_ISA', 'AVX512_CORE_BF16')

    @contextlib.contextmanager
    def optim_context(self, model):
        """Runs the forward pass of a training step in bfloat16 where autocast holds it safe."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield


def score_in_float32():
    """Fault 10: MMAction2's classification heads take bfloat16 scores."""
    from mmaction.models.heads import BaseHead

    def cast(upstream):
        def loss_by_feat(self, cls_scores, data_samples):
            if cls_scores.dtype == torch.bfloat16:  # numpy, which counts top-k, has no such type
                cls_scores = cls_scores.float()
            return upstream(self, cls_scores, data_samples)

        return loss_by_feat

    _replace(BaseHead, 'loss_by_feat', cast)


# 11 -----------------------------------------------------------------------------------------
def score_all_proposals():
    """Fault 11: in `ANetMetric` each video's ground truth goes with its proposals.

    Upstream keeps it in the process that has seen the video, so that in several processes the
    first one's videos are scored alone. Now it is part of the results that MMEngine collects, and
    N processes score as one does.

    Beside that, a metric leaves its config as it is, writes no file where ``dump_config.out`` is
    empty, takes videos without a proposal or an action, and raises UserError where a localizer
    has not predicted all videos of a batch, for only those predicted would count.
    """
    from mmaction.evaluation import ANetMetric

    def copy_options(upstream):
        def __init__(self, *args, **kwargs):  # upstream takes entries out of the config's dicts
            upstream(self, *copy.deepcopy(args), **copy.deepcopy(kwargs))

        return __init__

    def attach(upstream):
        def process(self, data_batch, predictions):
            start = len(self.results)
            upstream(self, data_batch, predictions)
            if not hasattr(self, 'ground_truth'):  # only AR@AN has one
                return
            num_videos, num_predicted = len(data_batch['data_samples']), len(predictions)
            if num_predicted != num_videos:
                raise UserError(
                    f'{num_predicted} of the {num_videos} videos of a batch are predicted; set '
                    'val_dataloader.batch_size=1 and test_dataloader.batch_size=1'
                )
            # New dicts, since other metrics hold the same predictions.
            self.results[start:] = [
                {**result, 'ground_truth': self.ground_truth[result['video_name'][2:]]}
                for result in self.results[start:]
            ]

        return process

    def restore(upstream):
        def compute_metrics(self, results):
            if hasattr(self, 'ground_truth'):
                self.ground_truth = {
                    result['video_name'][2:]: result['ground_truth'].reshape(-1, 3)
                    for result in results
                }
            return upstream(self, results)

        return compute_metrics

    def dump_to_a_file(upstream):
        def dump_results(self, results, *args, **kwargs):
            if self.out:
                upstream(self, results, *args, **kwargs)

        return dump_results

    def keep_columns(upstream):
        def _import_proposals(*args):  # static upstream, a method here: results come last
            proposals, num_proposals = upstream(args[-1])
            proposals = {name: rows.reshape(-1, 3) for name, rows in proposals.items()}
            return proposals, num_proposals

        return _import_proposals

    _replace(ANetMetric, '__init__', copy_options)
    _replace(ANetMetric, 'process', attach)
    _replace(ANetMetric, 'compute_metrics', restore)
    _replace(ANetMetric, 'dump_results', dump_to_a_file)
    _replace(ANetMetric, '_import_proposals', keep_columns)


# 20 -----------------------------------------------------------------------------------------
def find_editable_packages():
    """Fault 20: ``_base_ = 'mmaction::...'`` finds a package installed with ``pip install -e``.

    Upstream looks in site-packages alone, where such a package has only its metadata.
    """

    def ask_the_importer(upstream):
        def get_installed_path(package):
            path = upstream(package)
            if os.path.isdir(path):
                return path
            return importlib.util.find_spec(package2module(package)).submodule_search_locations[0]

        return get_installed_path

    for module in ('mmengine.config.config', 'mmengine.hub.hub'):
        _replace(importlib.import_module(module), 'get_installed_path', ask_the_importer)


# 24 -----------------------------------------------------------------------------------------
def write_files_whole():
    """Fault 24: what MMEngine writes to a local file is there as a whole, or as it was before."""

    def beside_then_rename(upstream):
        def put(self, obj, filepath, *args, **kwargs):
            with atomic_path(filepath) as temporary:
                upstream(self, obj, temporary, *args, **kwargs)

        return put

    _replace(LocalBackend, 'put', beside_then_rename)
    _replace(LocalBackend, 'put_text', beside_then_rename)


# 25 -----------------------------------------------------------------------------------------
def freeze_before_wrapping():
    """Fault 25: what a model freezes in ``train()`` is frozen when it is wrapped.

    MMAction2's backbones freeze their ``frozen_stages`` there, and MMEngine wraps first.
    """

    def freeze_first(upstream):
        def wrap_model(self, model_wrapper_cfg, model):
            return upstream(self, model_wrapper_cfg, model.train())

        return wrap_model

    _replace(Runner, 'wrap_model', freeze_first)


# 26 -----------------------------------------------------------------------------------------
def train_on_background():
    """Fault 26: BMN learns from videos without an action, in which nothing starts or ends.

    Where no proposal of a batch meets an action by more than 0.7, the loss of the regression is 0.
    """
    from mmaction.datasets.transforms import GenerateLocalizationLabels
    from mmaction.models.losses import BMNLoss

    def overlap_with_nothing(upstream):
        def transform(self, results):
            results = upstream(self, results)
            if not len(results['gt_bbox']):
                # An action of no length, long before the video: all its labels are 0.
                results['gt_bbox'] = np.array([[-1.0, -1.0]])
            return results

        return transform

    def without_matches(upstream):
        def pem_reg_loss(*args):  # static upstream, a method here
            pred_score, gt_iou_map, mask = args[-3:]
            # Upstream draws as many proposals as meet an action, and divides by their number.
            if (gt_iou_map <= 0.7).all():
                return pred_score.sum() * 0
            return upstream(pred_score, gt_iou_map, mask)

        return pem_reg_loss

    _replace(GenerateLocalizationLabels, 'transform', overlap_with_nothing)
    _replace(BMNLoss, 'pem_reg_loss', without_matches)


# 27 -----------------------------------------------------------------------------------------
def write_test_metrics_once():
    """Fault 27: the main process alone logs and writes the metrics of a test."""
    _replace(LoggerHook, 'after_test_epoch', master_only)


# 28 -----------------------------------------------------------------------------------------
def flip_copies():
    """Fault 28: ``Flip`` leaves the frames that it is given as they are."""
    from mmaction.datasets.transforms import Flip

    def of_copies(upstream):
        def _flip_imgs(self, imgs, modality):
            return upstream(self, [img.copy() for img in imgs], modality)

        return _flip_imgs

    _replace(Flip, '_flip_imgs', of_copies)


# --------------------------------------------------------------------------------------------
WORKAROUNDS = (
    stub_missing_drn,  # first: the others import mmaction.models
    load_checkpoints_safely,
    survive_broken_torchvision,
    find_torchvision_urls,
    let_tsm_start_from_scratch,
    score_in_float32,
    score_all_proposals,
    find_editable_packages,
    write_files_whole,
    freeze_before_wrapping,
    train_on_background,
    write_test_metrics_once,
    flip_copies,
)


def apply() -> None:
    """Runs all workarounds; calling it again changes nothing."""
    for workaround in WORKAROUNDS:
        workaround()
