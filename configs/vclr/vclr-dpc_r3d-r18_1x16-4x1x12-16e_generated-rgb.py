_base_ = '../dpc/dpc_r3d-r18_1x16-4x1x6-16e_generated-rgb.py'

model = dict(
    heads=dict(
        video=dict(
            type='MoCoHead',
            **_base_.contrast,
            queue_size=16,
            query_views=(1,),
            key_views=(2,),
        ),
        order=dict(type='OrderHead', projector=_base_.projector, query_view=1, key_view=2),
    ),
)

train_pipeline = [
    _base_.open_video,
    dict(
        type='SampleJointly',
        samplers=[
            _base_.sample_blocks,
            dict(
                type='SampleSegmentTuples',
                num_segments=3,
                clip_len=4,
                frame_interval=1,
                views=(0, 1),
            ),
        ],
    ),
    _base_.decode_video,
    _base_.augment_blocks,
    _base_.colour_blocks,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
