_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_5e.py',
    '../_base_/default_runtime.py',
]

projector = _base_.projector
model = dict(
    segments_per_view=(1, 3),
    heads=dict(
        inter=dict(
            type='InterFrameHead', projector=projector, queue_size=128, query_segment=0, key_view=1
        ),
        intra=dict(
            type='IntraFrameHead', projector=projector, pairwise=True, query_segment=0, key_view=1
        ),
        order=dict(type='SeCoOrderHead', projector=projector),
    ),
)

train_pipeline = [
    _base_.open_video,
    dict(type='SampleHalves', clip_len=4, frame_interval=2),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    dict(type='PackActionInputs', algorithm_keys=('query_in_second_half',)),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
