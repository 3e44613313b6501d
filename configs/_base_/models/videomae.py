# VideoMAE with ViT-B: 1568 tokens of 2 x 16 x 16 pixels; the encoder sees 160 of them.
model = dict(
    type='SSLRecognizer',
    backbone=dict(
        type='MaskedVisionTransformer',
        img_size=224,
        patch_size=16,
        num_frames=16,
        tubelet_size=2,
        embed_dims=768,
        depth=12,
        num_heads=12,
        # The encoder ends with `norm` on every token; features are the mean of the tokens.
        use_mean_pooling=False,
        return_feat_map=True,
    ),
    heads=dict(
        videomae=dict(
            type='VideoMAEHead',
            in_channels=768,
            mask=dict(type='TubeMask', ratio=0.9),
            decoder_channels=384,
            depth=4,
            num_heads=6,
        )
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    ),
)
