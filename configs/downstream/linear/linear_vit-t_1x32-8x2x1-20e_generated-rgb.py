# The small vision transformer on the generated videos of tools/demo.sh: training on one clip of 8
# frames at 64 pixels, test on 6 clips.
_base_ = 'linear_r18_1x32-1x1x3-20e_generated-rgb.py'

model = dict(
    type='FrozenRecognizer3D',
    backbone=dict(
        _delete_=True,
        type='VisionTransformer',
        img_size=64,
        patch_size=16,
        num_frames=8,
        tubelet_size=2,
        embed_dims=192,
        depth=6,
        num_heads=3,
        use_mean_pooling=False,
        return_feat_map=True,
    ),
    cls_head=dict(in_channels=192),
    data_preprocessor=dict(format_shape='NCTHW'),
)

sample_train = dict(type='SampleFrames', clip_len=8, frame_interval=2, num_clips=1)
sample_test = dict(type='SampleFrames', clip_len=8, frame_interval=2, num_clips=6, test_mode=True)
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    dict(type='RandomResizedCrop', area_range=(0.5, 1.0)),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    _base_.flip,
    _base_.shape_clips,
    _base_.pack,
]
test_pipeline = [
    _base_.open_video,
    sample_test,
    _base_.decode_video,
    dict(type='Resize', scale=(-1, 73)),
    dict(type='CenterCrop', crop_size=64),
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
