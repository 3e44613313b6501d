# SlowOnly-50 on UCF101, as the ρ family is fine-tuned (SlowFast's configs/contrastive_ssl,
# finetune_ucf_Slow_8x8_R50_syn0): cosine without warm-up, rates for 64 videos; 10 clips and three
# crops to test. SPLIT=2 in the environment takes split 2.
_base_ = [
    '../../_base_/mmaction2/slowonly_8x8x1.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(cls_head=dict(num_classes=101))

jitter = dict(
    type='ClipColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8
)
grayscale = dict(type='ClipGrayscale', prob=0.2)
train_pipeline = [
    _base_.open_video,
    _base_.sample_train,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop,
    _base_.resize,
    _base_.flip,
    jitter,
    grayscale,
    _base_.shape_clips,
    _base_.pack,
]
train_data = dict(
    ann_file='data/ucf101/ucf101_train_split_{{$SPLIT:1}}_videos.txt',
    data_prefix=dict(video='data/ucf101/videos'),
)
test_data = dict(
    ann_file='data/ucf101/ucf101_val_split_{{$SPLIT:1}}_videos.txt',
    data_prefix=dict(video='data/ucf101/videos'),
)
train_dataloader = dict(batch_size=8, dataset=dict(**train_data, pipeline=train_pipeline))
val_dataloader = dict(dataset=test_data)
test_dataloader = dict(dataset=test_data)

train_cfg = dict(max_epochs=200, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=0.005, nesterov=True, weight_decay=1e-4))
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        eta_min=0,
        by_epoch=True,
        begin=0,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(base_batch_size=64)
