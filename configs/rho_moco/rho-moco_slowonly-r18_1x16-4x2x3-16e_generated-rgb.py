_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

VIEWS = (0, 1, 2)
model = dict(
    heads=dict(
        moco=dict(
            type='MoCoHead',
            **_base_.contrast,
            queue_size=48,  # 16 videos
            query_views=VIEWS,
            key_views=VIEWS,
        )
    )
)
custom_hooks = [*_base_.custom_hooks, dict(type='MomentumScheduleHook')]

train_pipeline = [
    _base_.open_video,
    dict(type='SampleClips', num_views=3, clip_len=4, frame_interval=2),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
