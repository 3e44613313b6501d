_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

# An example of combined objectives: VCLR's video-level contrast and order on tuples of three clips,
# and CVRL's NT-Xent on a pair of clips. Views 0 and 1 are the tuples, 2 and 3 the pair.
model = dict(
    heads=dict(
        video=dict(type='MoCoHead', **_base_.contrast, queue_size=16),
        order=dict(type='OrderHead', projector=_base_.projector),
        clips=dict(type='SimCLRHead', **_base_.contrast, views=(2, 3)),
    ),
)

train_pipeline = [
    _base_.open_video,
    dict(
        type='SampleJointly',
        samplers=[
            dict(
                type='SampleSegmentTuples',
                num_segments=3,
                clip_len=4,
                frame_interval=2,
                views=(0, 1),
            ),
            dict(type='SampleClipPair', clip_len=4, frame_interval=2),
        ],
    ),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
