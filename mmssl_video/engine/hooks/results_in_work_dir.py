"""Make metrics write their results into the work directory of the run."""

import os.path as osp

from mmaction.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class ResultsInWorkDirHook(Hook):
    """Make a relative ``dump_config.out`` of `ANetMetric` relative to the run's work directory.

    Only the run knows the work directory (``--work-dir``), so a config cannot name it.
    """

    def before_val(self, runner: Runner) -> None:
        """Change the path before a validation."""
        self._place(runner.val_evaluator.metrics, runner.work_dir)

    def before_test(self, runner: Runner) -> None:
        """Change the path before the test."""
        self._place(runner.test_evaluator.metrics, runner.work_dir)

    def _place(self, metrics: list, work_dir: str) -> None:
        for metric in metrics:
            if getattr(metric, 'out', ''):
                # An absolute path stays the same, so a second validation changes nothing.
                metric.out = osp.join(work_dir, metric.out)
