_base_ = [
    '../_base_/models/r3d50_cvrl.py',
    '../_base_/datasets/cvrl_clips.py',
    '../_base_/schedules/cvrl_200e.py',
    '../_base_/default_runtime.py',
]

# The authors' head: three layers of 2048 with BN and ReLU, then 128.
projector = dict(
    type='ProjectionMLP',
    in_channels=2048,
    hidden_channels=2048,
    out_channels=128,
    num_layers=4,
    norm_cfg=dict(type='BN1d'),
)
model = dict(heads=dict(simclr=dict(type='SimCLRHead', projector=projector, temperature=0.1)))
