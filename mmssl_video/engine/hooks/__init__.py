"""Hooks for pretraining, and for downstream runs that start from its checkpoints."""

from .backbone_load import BackboneLoadHook
from .bad_videos import BadVideosHook
from .collapse_monitor import CollapseMonitorHook
from .diagnosis import read_messages
from .finite_loss import FiniteLossHook
from .grad_norm import GradNormHook
from .head_epoch import HeadEpochHook
from .initial_weights import InitialWeightsHook
from .lone_sample import LoneSampleHook
from .momentum_schedule import MomentumScheduleHook, TargetStepHook
from .objective_report import ObjectiveReportHook
from .online_knn import OnlineKNNHook
from .progress_bar import ProgressBarHook
from .reproducible import ReproducibleHook
from .results_in_work_dir import ResultsInWorkDirHook
from .resume_check import ResumeCheckHook
from .safe_checkpoint import SafeCheckpointHook
from .sync_statistics import SyncStatisticsHook

__all__ = [
    'BackboneLoadHook',
    'BadVideosHook',
    'CollapseMonitorHook',
    'FiniteLossHook',
    'GradNormHook',
    'HeadEpochHook',
    'InitialWeightsHook',
    'LoneSampleHook',
    'MomentumScheduleHook',
    'ObjectiveReportHook',
    'OnlineKNNHook',
    'ProgressBarHook',
    'ReproducibleHook',
    'ResultsInWorkDirHook',
    'ResumeCheckHook',
    'SafeCheckpointHook',
    'SyncStatisticsHook',
    'TargetStepHook',
    'read_messages',
]
