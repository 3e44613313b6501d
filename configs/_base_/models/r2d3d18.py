# R-2D3D-18 of DPC: ResNet-18 with 3x3x3 kernels and strides in time in its last two stages. The
# authors' last stage has 256 channels, this one 512.
model = dict(
    type='SSLRecognizer',
    backbone=dict(
        type='ResNet3dSlowOnly',
        depth=18,
        pretrained=None,
        lateral=False,
        conv1_kernel=(1, 7, 7),
        conv1_stride_t=1,
        pool1_stride_t=1,
        inflate=(0, 0, 1, 1),
        temporal_strides=(1, 1, 2, 2),
        norm_eval=False,
    ),
    data_preprocessor=dict(
        type='SSLDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    ),
)
