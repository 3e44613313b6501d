"""Hooks of pretraining."""

from .collapse_monitor import CollapseMonitorHook
from .finite_loss import FiniteLossHook
from .head_epoch import HeadEpochHook
from .momentum_schedule import MomentumScheduleHook
from .objective_report import ObjectiveReportHook
from .online_knn import OnlineKNNHook
from .progress_bar import ProgressBarHook
from .reproducible import ReproducibleHook

__all__ = [
    'CollapseMonitorHook',
    'FiniteLossHook',
    'HeadEpochHook',
    'MomentumScheduleHook',
    'ObjectiveReportHook',
    'OnlineKNNHook',
    'ProgressBarHook',
    'ReproducibleHook',
]
