# VCLR, Sec. 4.2: SGD, batch 512, 400 epochs, cosine to about 0. Weight decay and the 5 epochs of
# warm-up are from the authors' code; SeCo's are the same.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=400)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=1e-4),
)
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=5,
        start_factor=0.01,
        eta_min=1e-6,
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=512)
