_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(
        inter=dict(
            type='InterFrameHead', **_base_.contrast, queue_size=16, query_segment=0, key_view=1
        ),
        intra=dict(
            type='IntraFrameHead', **_base_.contrast, pairwise=True, query_segment=0, key_view=1
        ),
        order=dict(type='SeCoOrderHead', projector=_base_.projector),
    ),
)

train_pipeline = [
    _base_.open_video,
    dict(type='SampleHalves', clip_len=4, frame_interval=2),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    dict(type='PackViews', algorithm_keys=('query_in_second_half',)),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
