"""Metrics write their results into the work directory of the run."""

import os.path as osp

from mmaction.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class ResultsInWorkDirHook(Hook):
    """Let the relative ``dump_config.out`` of `ANetMetric` start at the run's work directory.

    The work directory is known to the run alone (``--work-dir``), so a config cannot name it.
    """

    def before_val(self, runner: Runner) -> None:
        """Before a round of validation."""
        self._place(runner.val_evaluator.metrics, runner.work_dir)

    def before_test(self, runner: Runner) -> None:
        """Before the test."""
        self._place(runner.test_evaluator.metrics, runner.work_dir)

    def _place(self, metrics: list, work_dir: str) -> None:
        for metric in metrics:
            if getattr(metric, 'out', ''):
                # An absolute path stays, so a second round changes nothing.
                metric.out = osp.join(work_dir, metric.out)
