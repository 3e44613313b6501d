_base_ = [
    '../_base_/models/r18.py',
    '../_base_/datasets/frames.py',
    '../_base_/schedules/sgd_300e.py',
    '../_base_/default_runtime.py',
]

# ResNet-18 replaces AlexNet; the layer of 4096 replaces AlexNet's fc7.
model = dict(heads=dict(order=dict(type='ShuffleLearnHead', in_channels=512, hidden_channels=4096)))

# Five frames a < b < c < d < e; crop and flip are drawn for all of them at once.
train_pipeline = [
    _base_.open_video,
    _base_.load_motion,
    dict(type='SampleFrameTuple', gaps=((15, 60), (1, 30), (1, 30), (15, 60))),
    _base_.decode_video,
    _base_.resize_short,
    dict(
        type='SharedAugment',
        share='view',
        transforms=[dict(type='RandomCrop', size=224), _base_.flip],
    ),
    _base_.format_frames,
    _base_.pack,
]
train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        ann_file='data/ucf101/ucf101_train_split_1_videos.txt',
        data_prefix=dict(video='data/ucf101/videos'),
        pipeline=train_pipeline,
    ),
)

# 100,000 iterations; the rate falls after 80,000. An epoch of UCF101 has 9537 // 128 = 74
# iterations, so 1350 epochs are 99,900 and 1080 are 79,920.
train_cfg = dict(max_epochs=1350)
param_scheduler = [dict(type='MultiStepLR', milestones=[1080], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=128)
