_base_ = [
    '../_base_/models/slowonly_r50.py',
    '../_base_/datasets/rho_clips.py',
    '../_base_/schedules/rho_lars_200e.py',
    '../_base_/default_runtime.py',
]

projector = dict(
    type='ProjectionMLP', in_channels=2048, hidden_channels=2048, out_channels=128, num_layers=3
)
model = dict(
    heads=dict(
        simclr=dict(type='SimCLRHead', projector=projector, temperature=0.1, views=(0, 1, 2, 3))
    )
)
sync_bn = 'torch'

train_pipeline = [
    _base_.open_video,
    dict(type='SampleClips', num_views=4, clip_len=8, frame_interval=8),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(optimizer=dict(lr=1.2))
param_scheduler = [{**_base_.param_scheduler[0], 'start_factor': 0.001 / 1.2}]
