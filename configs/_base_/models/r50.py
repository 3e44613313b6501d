# ResNet-50 on frames, and MoCo v2's projection for it.
model = dict(
    type='SSLRecognizer',
    backbone=dict(type='ResNet', depth=50, pretrained=None, norm_eval=False),
    momentum=0.999,
    data_preprocessor=dict(
        type='SSLDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCHW',
    ),
)
projector = dict(type='ProjectionMLP', in_channels=2048, hidden_channels=2048, out_channels=128)
