"""Pretrain a backbone on videos without labels, and show what it has learned.

Run it as `bash tools/demo.sh [VIDEO_DIR]`, which also sets up an environment. It has these stages,
and reuses the videos, trainings and features of untrimmed videos of an earlier run:

1. videos: without VIDEO_DIR a generated set, one third of it labelled and held out;
2. pretraining without labels, through tools/train.py, with the recipe of --config. The default is
   VCLR on frames, configs/vclr/vclr_r18_demo.py. With VIDEO_DIR it is CVRL on differences of
   frames, configs/cvrl/cvrl_r3d-r18_1x32-12x2x2-40e_folder-rgbdiff.py, which docs/choosing.md
   recommends for motion. The trainings use bfloat16 where the machine is faster in it;
3. features of the held-out videos from pretrained weights and random weights, and two features
   without learning, the mean frame and the frame difference. Each is evaluated by retrieval, a
   linear SVM and a linear probe. A warning says where pretraining is no better than one of the
   others;
4. fine-tuning with a few labels, from the pretrained and from random weights;
5. without VIDEO_DIR and --config: BMN finds actions in untrimmed videos, on features of both;
6. pictures: what the network looks at (Grad-CAM), a map of the features, proposals of actions, and
   for masked prediction the predicted tokens;
7. metrics.json and report.html.

With VIDEO_DIR the backbone is pretrained on your videos, found at any depth and in linked folders:

- If the folder has a train.txt and a test.txt, MMAction2 lists with lines `path label`, the first
  is used for pretraining and as the gallery, and the second as queries.
- Else, if it has folders train and test (or val) with class sub-folders, these are used likewise.
- Else, if the videos are in class sub-folders, a third of each class is held out as queries. Clips
  of one source stay on one side, if their names show the source.
- Else there are no labels, and the report has only the loss curves and Grad-CAM.

It is a quick look: from more than some thousand videos it draws a sample, balanced by class. For
few videos, batches and queues are smaller. The demo's own recipe adapts its epochs, to see as many
videos in total as with the generated set; other recipes keep their epochs.

The same command continues an interrupted run. It starts a new one if videos, lists or the recipe
have changed; other files in the folder do not matter.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from command_line import Parser, count, tool


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        'video_dir', nargs='?', help='folder of your own videos, searched recursively'
    )
    parser.add_argument('--config', help='recipe for pretraining (default that of stage 2)')
    parser.add_argument(
        '--seed',
        type=count,
        default=os.environ.get('SEED') or '0',  # as text, so that a wrong one is reported
        help='seed of everything: generated videos, splits, weights, training (default $SEED or 0)',
    )
    parser.add_argument(
        '--out',
        default=Path(__file__).resolve().parents[1] / 'work_dirs/demo',
        help="folder of the results (default work_dirs/demo in the project's folder)",
    )
    parser.add_argument('--started', type=float, default=time.time(), help=argparse.SUPPRESS)
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from demo_stages import run

    run(args)


if __name__ == '__main__':
    sys.exit(main())
