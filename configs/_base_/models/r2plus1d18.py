# R(2+1)D-18 on clips. MMAction2's has a pooling after the stem, the paper's does not; with stride
# 1, the maps have the paper's size.
_base_ = 'r3d18.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet2Plus1d',
        depth=18,
        pretrained=None,
        pretrained2d=False,
        conv_cfg=dict(type='Conv2plus1d'),
        conv1_stride_t=1,
        pool1_stride_s=1,
        pool1_stride_t=1,
        temporal_strides=(1, 2, 2, 2),
        zero_init_residual=False,
        norm_eval=False,
    )
)
