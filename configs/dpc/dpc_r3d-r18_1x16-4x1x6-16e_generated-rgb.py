_base_ = [
    '../_base_/models/small_r3d.py',
    '../_base_/datasets/small_objects.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

# Batch normalisation has running statistics, as in all small recipes, since they share the
# evaluation.
model = dict(
    heads=dict(
        dpc=dict(
            type='DPCHead', in_channels=128, feature_channels=64, num_predicted=2, map_size=(2, 2)
        )
    )
)

# 24 consecutive frames. One crop and flip for all of them; the authors' colours, one draw per
# block. Without this change of colours, the colour of a block identifies its video, and the network
# learns nothing about motion.
sample_blocks = dict(
    type='SampleConsecutiveClips', num_segments=6, clip_len=4, frame_interval=1, clip_gap=0
)
augment_blocks = {**_base_.augment, 'share': 'view'}
grey = dict(type='RandomApply', transforms=[dict(type='ChannelSplit')], prob=0.5)
jitter = dict(
    type='ClipColorJitter', brightness=0.5, contrast=0.5, saturation=0.5, hue=0.25, prob=1.0
)
colour_blocks = dict(type='SharedAugment', share='clip', transforms=[grey, jitter])
train_pipeline = [
    _base_.open_video,
    sample_blocks,
    _base_.decode_video,
    augment_blocks,
    colour_blocks,
    _base_.format_clips,
    _base_.pack,
]
feature_pipeline = [
    _base_.open_video,
    dict(type='SampleFrames', clip_len=4, frame_interval=1, num_clips=6, test_mode=True),
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
