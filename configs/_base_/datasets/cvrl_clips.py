# CVRL's clip pair: 16 frames, 2 apart, short gaps more often than long ones.
_base_ = 'rho_clips.py'

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
    *_base_.train_pipeline[4:],
]
feature_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=16, frame_interval=2, num_clips=10, test_mode=True),
    *_base_.feature_pipeline[2:],
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
