_base_ = [
    '../_base_/models/slowonly_r50.py',
    '../_base_/datasets/rho_clips.py',
    '../_base_/schedules/rho_200e.py',
    '../_base_/default_runtime.py',
]

VIEWS = (0, 1, 2, 3)  # ρ = 4 clips, each a query and a key
projector = dict(
    type='ProjectionMLP', in_channels=2048, hidden_channels=2048, out_channels=128, num_layers=3
)
model = dict(
    heads=dict(
        moco=dict(
            type='MoCoHead',
            projector=projector,
            queue_size=65536,
            temperature=0.1,
            query_views=VIEWS,
            key_views=VIEWS,
        )
    ),
    momentum=0.994,
)
custom_hooks = [*_base_.custom_hooks, dict(type='MomentumScheduleHook')]

train_pipeline = [
    _base_.open_video,
    dict(type='SampleClips', num_views=4, clip_len=8, frame_interval=8),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
