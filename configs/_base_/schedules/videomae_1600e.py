# VideoMAE, Table 9: AdamW, batch 1024, 40 epochs of warm-up, cosine to a floor. The rate is 1.5e-4
# for 256 videos, the floor 1e-5; `--auto-scale-lr` scales only the rate. `fused` makes one pass
# over the weights; with torch older than 2.4 it needs a GPU.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1600)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    # No weight decay for parameters of one dimension and for the mask token.
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys=dict(mask_token=dict(decay_mult=0.0)),
    ),
)
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=40,
        eta_min=4e-5,
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=1024)
