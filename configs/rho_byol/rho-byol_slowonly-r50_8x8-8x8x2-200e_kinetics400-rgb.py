_base_ = [
    '../_base_/models/slowonly_r50.py',
    '../_base_/datasets/rho_clips.py',
    '../_base_/schedules/rho_lars_200e.py',
    '../_base_/default_runtime.py',
]

projector = dict(
    type='ProjectionMLP',
    in_channels=2048,
    hidden_channels=4096,
    out_channels=256,
    norm_cfg=dict(type='BN1d'),
)
model = dict(
    heads=dict(
        byol=dict(type='BYOLHead', projector=projector, predictor={**projector, 'in_channels': 256})
    ),
    momentum=0.996,
    shuffle_bn=False,  # batch normalisation covers all GPUs
)
sync_bn = 'torch'
custom_hooks = [*_base_.custom_hooks, dict(type='MomentumScheduleHook')]
