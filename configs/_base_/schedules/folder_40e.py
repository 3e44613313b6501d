# 40 epochs in batches of 32, for folders of a few hundred videos.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=40)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
)
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=2,
        start_factor=0.01,
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=32)
