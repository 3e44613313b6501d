_base_ = [
    '../_base_/models/slowonly_r50.py',
    '../_base_/datasets/rho_clips.py',
    '../_base_/schedules/rho_lars_200e.py',
    '../_base_/default_runtime.py',
]

projector = dict(
    type='ProjectionMLP',
    in_channels=2048,
    hidden_channels=2048,
    out_channels=128,
    num_layers=3,
    norm_cfg=dict(type='BN1d'),
)
model = dict(heads=dict(swav=dict(type='SwAVHead', projector=projector, num_prototypes=1000)))
sync_bn = 'torch'
custom_hooks = [*_base_.custom_hooks, dict(type='HeadEpochHook')]
