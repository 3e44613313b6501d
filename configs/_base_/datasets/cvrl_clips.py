# CVRL's clip pair: 16 frames, 2 apart, short gaps more often than long ones.
augment = dict(
    type='SharedAugment',
    share='clip',
    transforms=[
        dict(type='RandomResizedCrop', area_range=(0.3, 1.0), aspect_ratio_range=(0.5, 2.0)),
        dict(type='Resize', scale=(224, 224), keep_ratio=False),
        dict(type='Flip', flip_ratio=0.5),
        dict(
            type='ClipColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, prob=0.8
        ),
        dict(type='ClipGrayscale', prob=0.2),
        dict(type='ClipGaussianBlur', sigma_range=(0.1, 2.0), prob=1.0),
    ],
)
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleClipPair', clip_len=16, frame_interval=2, gap='decreasing'),
    dict(type='DecordDecode'),
    augment,
    dict(type='FormatViews', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
# Features of a whole video: 10 clips, centre crop.
feature_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=16, frame_interval=2, num_clips=10, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='UnlabeledVideoDataset',
        ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
        data_prefix=dict(video='data/kinetics400/videos_train'),
        bad_videos='skip',
        pipeline=train_pipeline,
    ),
)
