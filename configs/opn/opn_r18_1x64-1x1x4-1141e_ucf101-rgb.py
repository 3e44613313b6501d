_base_ = [
    '../_base_/models/r18.py',
    '../_base_/datasets/frames.py',
    '../_base_/schedules/sgd_300e.py',
    '../_base_/default_runtime.py',
]

# ResNet-18 replaces CaffeNet.
model = dict(
    heads=dict(
        order=dict(
            type='PermutationHead',
            in_channels=512,
            num_segments=4,
            up_to_reversal=True,
            norm=True,
        )
    )
)

# The authors' tuples come from a list that is not public; the distances are ours.
resize_short = dict(type='Resize', scale=(-1, 240))
train_pipeline = [
    _base_.open_video,
    _base_.load_motion,
    dict(type='SampleFrameTuple', gaps=((5, 20), (5, 20), (5, 20))),
    _base_.decode_video,
    resize_short,
    dict(type='MotionCrop', region=100, size=80, jitter=5),
    dict(type='SharedAugment', share='view', transforms=[_base_.flip]),
    dict(type='SharedAugment', share='frame', transforms=[dict(type='ChannelSplit')]),
    _base_.format_frames,
    _base_.pack,
]
# Whole frames, at the scale of the patches.
feature_pipeline = [
    _base_.open_video,
    _base_.sample_features,
    _base_.decode_video,
    resize_short,
    _base_.crop_centre,
    _base_.shape_frames,
    _base_.pack,
]
train_dataloader = dict(
    dataset=dict(
        ann_file='data/ucf101/ucf101_train_split_1_videos.txt',
        data_prefix=dict(video='data/ucf101/videos'),
        pipeline=train_pipeline,
    ),
)

# 170,000 iterations; the rate falls after 130,000. An epoch of UCF101 has 9537 // 64 = 149
# iterations, so 1141 epochs are 170,009 and 872 are 129,928.
train_cfg = dict(max_epochs=1141)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = [dict(type='MultiStepLR', milestones=[872], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=64)
