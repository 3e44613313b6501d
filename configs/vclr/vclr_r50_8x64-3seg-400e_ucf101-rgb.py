_base_ = 'vclr_r50_8x64-3seg-400e_kinetics400-rgb.py'

train_dataloader = dict(
    dataset=dict(
        ann_file='data/ucf101/ucf101_train_split_1_videos.txt',
        data_prefix=dict(video='data/ucf101/videos'),
    )
)

# The paper gives no separate numbers for UCF101, so all but the queue is from the Kinetics recipe.
# 9,537 training videos cannot fill a queue of 131,072: it would hold every video a dozen times.
model = dict(heads=dict(inter=dict(queue_size=4096), video=dict(queue_size=4096)))
