# ViT-B on UCF101: batches of 128, a rate of 0.0005 for 256 videos, a layer decay of 0.7 and more
# drop path. SPLIT=2 in the environment takes split 2.
_base_ = 'videomae_vit-b_64x8-16x4x1-75e_kinetics400-rgb.py'

model = dict(
    backbone=dict(drop_path_rate=0.2),
    cls_head=dict(num_classes=101),
    data_preprocessor=dict(
        blending=dict(
            augments=[
                dict(type='MixupBlending', num_classes=101, alpha=0.8),
                dict(type='CutmixBlending', num_classes=101, alpha=1.0),
            ]
        )
    ),
)

train_data = dict(
    ann_file='data/ucf101/ucf101_train_split_{{$SPLIT:1}}_videos.txt',
    data_prefix=dict(video='data/ucf101/videos'),
)
test_data = dict(
    ann_file='data/ucf101/ucf101_val_split_{{$SPLIT:1}}_videos.txt',
    data_prefix=dict(video='data/ucf101/videos'),
)
train_dataloader = dict(dataset=train_data)
val_dataloader = dict(dataset=test_data)
test_dataloader = dict(dataset=test_data)

train_cfg = dict(max_epochs=100)
optim_wrapper = dict(optimizer=dict(lr=0.00025), paramwise_cfg=dict(decay_rate=0.7))
auto_scale_lr = dict(base_batch_size=128)
