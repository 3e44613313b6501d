# Frames of video files, as VCLR reads them: view 0 the anchor tuple, 1 the positive, 2 the anchor
# again.
augment = dict(
    type='SharedAugment',
    share='frame',
    transforms=[
        dict(type='RandomResizedCrop', area_range=(0.2, 1.0)),
        dict(type='Resize', scale=(224, 224), keep_ratio=False),
        dict(type='Flip', flip_ratio=0.5),
        dict(
            type='ClipColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8
        ),
        dict(type='ClipGrayscale', prob=0.2),
        dict(type='ClipGaussianBlur', sigma_range=(0.1, 2.0), prob=0.5),
    ],
)
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleSegmentTuples', num_segments=3, clip_len=1, views=(0, 1, 0)),
    dict(type='DecordDecode'),
    augment,
    dict(type='FormatViews', input_format='NCHW'),
    dict(type='PackActionInputs'),
]
# Features of a whole video: 30 frames, short side 256, centre crop 224 (VCLR, Sec. 4.3).
feature_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=30, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCHW'),
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
        ann_file='',
        data_prefix=dict(video=''),
        bad_videos='skip',
        pipeline=train_pipeline,
    ),
)
