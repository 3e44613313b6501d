# R3D-18 on clips: all convolutions are 3x3x3, and only the last layer pools.
model = dict(
    type='SSLRecognizer',
    backbone=dict(
        type='ResNet3d',
        depth=18,
        pretrained=None,
        conv1_stride_t=1,
        with_pool1=False,
        with_pool2=False,
        temporal_strides=(1, 2, 2, 2),
        zero_init_residual=False,
        norm_eval=False,
    ),
    data_preprocessor=dict(
        type='SSLDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    ),
)
