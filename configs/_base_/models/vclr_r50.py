# VCLR: every objective has a projection of its own; the losses are summed 1:1:1:1 (Eq. 11).
projector = dict(type='ProjectionMLP', in_channels=2048, hidden_channels=2048, out_channels=128)
model = dict(
    type='SSLRecognizer',
    backbone=dict(type='ResNet', depth=50, pretrained=None, norm_eval=False),
    heads=dict(
        inter=dict(type='InterFrameHead', projector=projector, queue_size=131072, temperature=0.1),
        intra=dict(type='IntraFrameHead', projector=projector, temperature=0.1),
        video=dict(type='VideoLevelHead', projector=projector, queue_size=131072, temperature=0.1),
        order=dict(type='OrderHead', projector=projector),
    ),
    momentum=0.999,
    shuffle_bn=True,
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCHW',
    ),
)
