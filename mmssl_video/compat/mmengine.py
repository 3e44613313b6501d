"""Faults of MMEngine, with references and the affected versions.

- 2: Checkpoints with MMEngine's own objects cannot be loaded (torch >= 2.6), or loading runs any
  code in the file (before 2.6). mmengine issue 1655, pull request 1650; mmengine 0.10.7.
- 4: The Runner stops at its start if torchvision is broken. mmengine 0.10.7, collect_env.
- 5: ``torchvision://`` weights need torchvision for their address. mmengine 0.10.7, checkpoint.
- 7: Several processes on a CPU: ``torch.cuda.set_device`` fails. mmengine 0.10.7, init_dist.
- 8: Then DistributedDataParallel refuses ``device_ids``. mmengine 0.10.7, Runner.wrap_model.
- 20: ``_base_ = 'package::...'`` misses a package installed with ``pip install -e``. mmengine
  0.10.7, package_utils.
- 24: Files are written in place, so a kill leaves a half-written file. If that is a checkpoint that
  replaces the last one, the run is lost. mmengine 0.10.7, LocalBackend.
- 25: ``frozen_stages`` in several processes: DistributedDataParallel waits for gradients of stages
  that the backbone freezes after it has been wrapped. mmaction2 1.2.0, mmengine 0.10.7.
- 27: All processes of a test write the metrics to one file, which mixes their texts. mmengine
  0.10.7, LoggerHook.
- 30: The values of all iterations are kept, copied for each new one and written to each checkpoint:
  after 375,000 iterations, 15 scalars take 10 ms an iteration and 91 MB. mmengine 0.10.7,
  MessageHub and HistoryBuffer.
- 31: A resumed run loads its checkpoint onto the GPU. Adam's step counters, one for each weight,
  stay there, and each optimiser step waits for every one of them. mmengine 0.10.7, Runner.resume.
- 32: A message with a file name that is not UTF-8 is missing in the log file, and a traceback is
  shown. mmengine 0.10.7, MMLogger.
"""

import importlib
import importlib.util
import logging
import os
import sys
import warnings
from pathlib import Path
from urllib.parse import urlparse

import mmengine
import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import barrier, get_dist_info, master_only
from mmengine.fileio import LocalBackend
from mmengine.hooks import LoggerHook
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner, checkpoint
from mmengine.utils.package_utils import package2module

from mmssl_video.checkpoints.loading import load_checkpoint_file
from mmssl_video.errors import UserError
from mmssl_video.files import atomic_path

from .replace import replace


# 2 ------------------------------------------------------------------------------------------
def load_checkpoints_safely():
    """Fault 2: every checkpoint that MMEngine or MMAction2 loads goes through our loader.

    This covers `load_from`, `init_cfg=dict(type='Pretrained')`, `init_recognizer` and resuming,
    from a file or a web address.
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

        # As upstream: the first process downloads; the others wait and use its file.
        if get_dist_info()[0] == 0:
            download()
        barrier()
        download()
        return load_checkpoint_file(path, map_location=map_location)

    replace(checkpoint, 'load_from_local', lambda upstream: load_from_local)
    replace(checkpoint, 'load_from_http', lambda upstream: load_from_http)
    register = checkpoint.CheckpointLoader.register_scheme
    register('', checkpoint.load_from_local, force=True)
    register(('http://', 'https://'), checkpoint.load_from_http, force=True)


# 4, 5 ---------------------------------------------------------------------------------------
def survive_broken_torchvision():
    """Fault 4: a torchvision that cannot be imported counts as one that is not installed.

    torchvision must fit torch exactly; a wheel built for another torch raises RuntimeError or
    OSError. MMEngine, which only reads its version, expects ModuleNotFoundError.
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

    replace(sys.modules['mmengine.runner.runner'], 'collect_env', hide_if_broken)


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

    replace(checkpoint, 'get_torchvision_models', fall_back)


# 7, 8 ---------------------------------------------------------------------------------------
# A variable that each launcher sets, and who is this launcher.
LAUNCHERS = {
    'pytorch': ('RANK', 'tools/dist_train.sh or torchrun'),
    'slurm': ('SLURM_PROCID', 'tools/slurm_train.sh or srun'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'mpirun'),
}


def prepare_launch(cfg: Config, launcher: str) -> None:
    """Faults 7 and 8: make a config run in several processes on a CPU.

    Call it before ``Runner.from_cfg(cfg)``; MMEngine then starts the process group, for each of its
    launchers.

    Args:
        cfg: The run's config. With several processes, the run ends when one keeps the others
            waiting for more than ``env_cfg.dist_cfg.timeout`` seconds; the default is 600, as for
            NCCL. On a CPU, ``env_cfg.dist_cfg.backend`` becomes gloo; ``model_wrapper_cfg`` keeps
            its entries and gets ``device_ids=None``; ``sync_bn``, which torch has only for GPUs, is
            removed with a warning.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.

    Raises:
        UserError: If that launcher has not started this process.
    """
    if launcher == 'none':
        return
    variable, starter = LAUNCHERS[launcher]
    if variable not in os.environ:
        raise UserError(
            f'`launcher={launcher}`: {variable} is not set, so this launcher has not started the '
            f'process; start it with {starter}, or leave the option out'
        )
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


# 20 -----------------------------------------------------------------------------------------
def find_editable_packages():
    """Fault 20: ``_base_ = 'mmaction::...'`` finds a package installed with ``pip install -e``.

    Upstream looks only in site-packages, where such a package has only its metadata.
    """

    def ask_the_importer(upstream):
        def get_installed_path(package):
            path = upstream(package)
            if os.path.isdir(path):
                return path
            return importlib.util.find_spec(package2module(package)).submodule_search_locations[0]

        return get_installed_path

    for module in ('mmengine.config.config', 'mmengine.hub.hub'):
        replace(importlib.import_module(module), 'get_installed_path', ask_the_importer)


# 24 -----------------------------------------------------------------------------------------
def write_files_whole():
    """Fault 24: MMEngine writes a local file completely, or leaves the old one unchanged."""

    def beside_then_rename(upstream):
        def put(self, obj, filepath, *args, **kwargs):
            with atomic_path(filepath) as temporary:
                upstream(self, obj, temporary, *args, **kwargs)

        return put

    replace(LocalBackend, 'put', beside_then_rename)
    replace(LocalBackend, 'put_text', beside_then_rename)


# 25 -----------------------------------------------------------------------------------------
def freeze_before_wrapping():
    """Fault 25: parameters that a model freezes in ``train()`` are frozen before it is wrapped.

    MMAction2's backbones freeze their ``frozen_stages`` there, but MMEngine wraps first.
    """

    def freeze_first(upstream):
        def wrap_model(self, model_wrapper_cfg, model):
            return upstream(self, model_wrapper_cfg, model.train())

        return wrap_model

    replace(Runner, 'wrap_model', freeze_first)


# 27 -----------------------------------------------------------------------------------------
def write_test_metrics_once():
    """Fault 27: only the main process logs and writes the metrics of a test."""
    replace(LoggerHook, 'after_test_epoch', master_only)


# 30 -----------------------------------------------------------------------------------------
KEPT_VALUES = 20_000  # of a scalar, more than the iterations of most epochs


def keep_recent_scalars():
    """Fault 30: the values of the last `KEPT_VALUES` iterations are kept; the log needs fewer."""

    def bounded(upstream):
        def update_scalar(self, key, *args, **kwargs):
            upstream(self, key, *args, **kwargs)
            self._log_scalars[key].max_length = KEPT_VALUES

        return update_scalar

    replace(MessageHub, 'update_scalar', bounded)


# 31 -----------------------------------------------------------------------------------------
def resume_on_the_cpu():
    """Fault 31: a checkpoint is resumed from the CPU's memory.

    Weights, buffers and the optimizer's other state are copied to the device of the weights. Steps
    stay where they are loaded, except those of ``fused`` or ``capturable`` optimizers.
    """

    def from_cpu(upstream):
        def resume(
            self,
            filename,
            resume_optimizer=True,
            resume_param_scheduler=True,
            map_location='cpu',
        ):
            return upstream(self, filename, resume_optimizer, resume_param_scheduler, map_location)

        return resume

    replace(Runner, 'resume', from_cpu)


# 32 -----------------------------------------------------------------------------------------
def log_any_name():
    """Fault 32: what the encoding of the log file does not have is written as an escape."""

    def escaped(upstream):
        def __init__(self, *args, **kwargs):
            upstream(self, *args, **kwargs)
            for handler in self.handlers:
                if isinstance(handler, logging.FileHandler):
                    handler.errors = 'backslashreplace'
                    if handler.stream is not None:  # it is open already
                        handler.stream.reconfigure(errors='backslashreplace')

        return __init__

    replace(MMLogger, '__init__', escaped)
