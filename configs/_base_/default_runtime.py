custom_imports = dict(imports=['mmssl_video'], allow_failed_imports=False)
default_scope = 'mmaction'

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20, ignore_last=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=5, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    sync_buffers=dict(type='SyncStatisticsHook'),
)
custom_hooks = [
    dict(type='InitialWeightsHook'),
    dict(type='ResumeCheckHook'),
    dict(type='ReproducibleHook'),
    dict(type='ObjectiveReportHook'),
    dict(type='FiniteLossHook'),
    dict(type='CollapseMonitorHook', interval=50),
    dict(type='BadVideosHook'),
    dict(type='GradNormHook'),
    dict(type='LoneSampleHook'),
    dict(type='TargetStepHook'),
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

log_processor = dict(
    type='LogProcessor',
    window_size=20,
    by_epoch=True,
    mean_pattern=r'.*(loss|time|data_time|grad_norm|acc|purity).*',
)

vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='ActionVisualizer', vis_backends=vis_backends)

log_level = 'INFO'
load_from = None
resume = False
