"""All workarounds for upstream faults, and no other code.

`apply`, which ``import mmssl_video`` calls, runs those in `WORKAROUNDS`; `prepare_launch` and
`avoid_amx` are called by name. Each does nothing if upstream is sound. :mod:`.mmaction`,
:mod:`.mmengine` and :mod:`.torch` list their faults by number. Faults with a remedy elsewhere:

- 3: ``pkg_resources`` is gone; ``setuptools<82`` in setup.py. mmengine 0.10.7, package_utils.
- 9: ``AmpOptimWrapper`` refuses a CPU; `Bf16OptimWrapper` does not. mmengine 0.10.7.

The version bounds in setup.py or our own tools avoid numbers 12 to 17; 18, 19, 21 and 22 were
faults of decoders that are not used here.
"""

from . import mmaction, mmengine
from .mmengine import prepare_launch
from .torch import avoid_amx

__all__ = ['WORKAROUNDS', 'apply', 'avoid_amx', 'prepare_launch']

WORKAROUNDS = (
    mmaction.stub_missing_drn,  # first: the others import mmaction.models
    mmengine.load_checkpoints_safely,
    mmengine.survive_broken_torchvision,
    mmengine.find_torchvision_urls,
    mmaction.let_tsm_start_from_scratch,
    mmaction.score_in_float32,
    mmaction.score_all_proposals,
    mmengine.find_editable_packages,
    mmengine.write_files_whole,
    mmengine.freeze_before_wrapping,
    mmaction.train_on_background,
    mmengine.write_test_metrics_once,
    mmengine.keep_recent_scalars,
    mmengine.resume_on_the_cpu,
    mmengine.log_any_name,
    mmaction.flip_copies,
    mmaction.draw_predictions,
)


def apply() -> None:
    """Run all workarounds; calling it again changes nothing."""
    for workaround in WORKAROUNDS:
        workaround()
