# DPC's blocks: 40 frames, 3 apart, in 8 blocks of 5, at 128 pixels. All frames are cropped and
# flipped alike, so that a place of the maps is the same in all blocks; colours change by the frame.
geometry = dict(
    type='SharedAugment',
    share='view',
    transforms=[
        dict(type='RandomResizedCrop', area_range=(0.5, 1.0)),
        dict(type='Resize', scale=(128, 128), keep_ratio=False),
        dict(type='Flip', flip_ratio=0.5),
    ],
)
colour = dict(
    type='SharedAugment',
    share='frame',
    transforms=[
        # What the authors' code calls grey: one channel, copied to all three.
        dict(type='RandomApply', transforms=[dict(type='ChannelSplit')], prob=0.5),
        dict(
            type='ClipColorJitter', brightness=0.5, contrast=0.5, saturation=0.5, hue=0.25, prob=1.0
        ),
    ],
)
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleConsecutiveClips', num_segments=8, clip_len=5, frame_interval=3, clip_gap=2),
    dict(type='DecordDecode'),
    geometry,
    colour,
    dict(type='FormatViews', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
# Features of a whole video: 10 blocks, centre crop.
feature_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=5, frame_interval=3, num_clips=10, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 146)),
    dict(type='CenterCrop', crop_size=128),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
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
