"""Hooks of pretraining."""

from .momentum_schedule import MomentumScheduleHook
from .objective_report import ObjectiveReportHook
from .progress_bar import ProgressBarHook
from .reproducible import ReproducibleHook

__all__ = [
    'MomentumScheduleHook',
    'ObjectiveReportHook',
    'ProgressBarHook',
    'ReproducibleHook',
]
