# The backbone of all small recipes: SlowOnly-18 with a quarter of its width, clips of 4 frames at
# 64 pixels.
model = dict(
    type='SSLRecognizer',
    backbone=dict(
        type='ResNet3dSlowOnly',
        depth=18,
        base_channels=16,
        pretrained=None,
        lateral=False,
        conv1_kernel=(1, 7, 7),
        conv1_stride_t=1,
        pool1_stride_t=1,
        inflate=(0, 0, 1, 1),
        norm_eval=False,
        # Residual blocks that start at zero would still be near zero at the end of a small run.
        zero_init_residual=False,
    ),
    # At 0.99 and above, the target would be a mean over more iterations than the run has.
    momentum=0.9,
    data_preprocessor=dict(
        type='SSLDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    ),
)
# What keeps a small run stable (docs/choosing.md): normalisation, after the last layer too; a
# temperature high enough that more than the few nearest of the random directions count; and, in the
# recipes, queues that hold only the last batch.
projector = dict(
    type='ProjectionMLP',
    in_channels=128,
    hidden_channels=256,
    out_channels=64,
    norm_cfg=dict(type='BN1d'),
    norm_last=True,
)
predictor = dict(
    type='ProjectionMLP',
    in_channels=64,
    hidden_channels=128,
    out_channels=64,
    norm_cfg=dict(type='BN1d'),
)
contrast = dict(projector=projector, temperature=0.2)
# Where a loss does not push apart each pair of videos (SwAV, NNCLR, BYOL), a learned shift becomes
# a part that all embeddings share. MoCo v3 leaves the shift out, too.
projector_without_shift = {**projector, 'norm_cfg': dict(type='BN1d', affine=False)}
contrast_without_shift = dict(projector=projector_without_shift, temperature=0.2)
