# DPC's blocks: 40 frames, 3 apart, in 8 blocks of 5, at 128 pixels. All frames have one crop and
# flip, so that a place of the maps is the same in all blocks; colours change with each frame.
_base_ = '../pipelines/video.py'

sample_blocks = dict(
    type='SampleConsecutiveClips', num_segments=8, clip_len=5, frame_interval=3, clip_gap=2
)
crop = dict(type='RandomResizedCrop', area_range=(0.5, 1.0))
resize = dict(type='Resize', scale=(128, 128), keep_ratio=False)
geometry = dict(type='SharedAugment', share='view', transforms=[crop, resize, _base_.flip])
# What the authors' code calls grey: one channel, copied to all three.
grey = dict(type='RandomApply', transforms=[dict(type='ChannelSplit')], prob=0.5)
jitter = dict(
    type='ClipColorJitter', brightness=0.5, contrast=0.5, saturation=0.5, hue=0.25, prob=1.0
)
colour = dict(type='SharedAugment', share='frame', transforms=[grey, jitter])
train_pipeline = [
    _base_.open_video,
    sample_blocks,
    _base_.decode_video,
    geometry,
    colour,
    _base_.format_clips,
    _base_.pack,
]
# Features of a whole video: 10 blocks, centre crop.
sample_features = dict(
    type='SampleFrames', clip_len=5, frame_interval=3, num_clips=10, test_mode=True
)
resize_short = dict(type='Resize', scale=(-1, 146))
crop_centre = dict(type='CenterCrop', crop_size=128)
feature_pipeline = [
    _base_.open_video,
    sample_features,
    _base_.decode_video,
    resize_short,
    crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='UnlabeledVideoDataset',
        ann_file='data/ucf101/ucf101_train_split_1_videos.txt',
        data_prefix=dict(video='data/ucf101/videos'),
        bad_videos='skip',
        pipeline=train_pipeline,
    ),
)
