# VCLR's video-level contrast and order with DPC (Table 9, App. A.3). View 0 holds DPC's 8 blocks.
# Views 1 and 2 are the tuples: a clip of 5 frames from each of 3 segments.
_base_ = '../dpc/dpc_r2d3d18_2x64-5x3x8-300e_ucf101-rgb.py'

projector = dict(type='ProjectionMLP', in_channels=512, hidden_channels=512, out_channels=128)
model = dict(
    heads=dict(
        # As in VCLR's recipe for UCF101: a queue of 131,072 would hold every video a dozen times.
        video=dict(
            type='MoCoHead',
            projector=projector,
            queue_size=4096,
            temperature=0.1,
            query_views=(1,),
            key_views=(2,),
        ),
        order=dict(type='OrderHead', projector=projector, query_view=1, key_view=2),
    ),
    momentum=0.999,
)

# The text does not say how the tuples are augmented: here like the blocks, with one crop per tuple.
train_pipeline = [
    _base_.open_video,
    dict(
        type='SampleJointly',
        samplers=[
            _base_.sample_blocks,
            dict(
                type='SampleSegmentTuples',
                num_segments=3,
                clip_len=5,
                frame_interval=3,
                views=(0, 1),
            ),
        ],
    ),
    _base_.decode_video,
    _base_.geometry,
    _base_.colour,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
