# VCLR with clips, in the budget of the other methods' small recipes.
_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(
        inter=dict(type='InterFrameHead', **_base_.contrast, queue_size=16),
        intra=dict(type='IntraFrameHead', **_base_.contrast),
        video=dict(type='MoCoHead', **_base_.contrast, queue_size=16),
        order=dict(type='OrderHead', projector=_base_.projector),
    )
)

train_pipeline = [
    _base_.open_video,
    dict(type='SampleSegmentTuples', num_segments=3, clip_len=4, frame_interval=2),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
