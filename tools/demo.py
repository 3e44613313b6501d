"""Pretrain a backbone on videos without labels, and measure what it has learned.

Run it as `bash tools/demo.sh [VIDEO_DIR]`, which also sets up an environment. It has these stages,
and reuses the videos, trainings and features of untrimmed videos of an earlier run:

1. videos: without VIDEO_DIR a generated set, one third of it labelled and held out;
2. pretraining without labels, through tools/train.py, with the recipe of --config. Without --config
   it is VCLR of frames, configs/vclr/vclr_r18_demo.py; with VIDEO_DIR CVRL on differences of
   frames, configs/cvrl/cvrl_r3d-r18_1x32-12x2x2-40e_folder-rgbdiff.py, which docs/choosing.md
   recommends for motion;
3. features of the held-out videos, from pretrained weights, random weights, and two baselines
   without learning, the mean frame and the frame difference; each with retrieval, a linear SVM and
   a linear probe. The demo reports where pretraining is no better than a baseline;
4. fine-tuning with a few labels, from the pretrained and from random weights;
5. without VIDEO_DIR and --config: action proposals in untrimmed videos, by BMN on features of both;
6. pictures: where the network looks (Grad-CAM), a map of the features, action proposals; for masked
   prediction, its reconstruction of hidden tokens;
7. metrics.json and report.html.

With VIDEO_DIR the backbone is pretrained on your videos, at any depth and in linked folders:

- If the folder has a train.txt and a test.txt, MMAction2 lists with lines `path label`, train.txt
  is for pretraining and is the gallery; test.txt has the queries.
- Else, if it has folders train and test (or val) with class sub-folders, these are used likewise.
- Else, if the videos are in class sub-folders, a third of each class is held out as queries. Clips
  of one source stay on one side, if their names show the source.
- Else there are no labels, and the report has only the loss curves and Grad-CAM.

The demo is a quick look: from more than a few thousand videos it draws a sample, with the same
number of each class. Batches and queues are smaller for few videos. The demo's own recipe gets
enough epochs to see as many videos in total as with the generated set; another recipe keeps its
epochs.

The same command continues an interrupted run. It starts again if videos, lists or the recipe have
changed; other files in the folder do not matter.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from command_line import Parser, tool


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        'video_dir', nargs='?', help='folder of your own videos, searched recursively'
    )
    parser.add_argument('--config', help='recipe to pretrain by (default that of stage 2)')
    parser.add_argument(
        '--seed',
        type=int,
        default=int(os.environ.get('SEED', 0)),
        help='seed of everything: generated videos, splits, weights, training (default $SEED or 0)',
    )
    parser.add_argument(
        '--out',
        default=Path(__file__).resolve().parents[1] / 'work_dirs/demo',
        help="folder of the results (default work_dirs/demo of the project's folder)",
    )
    parser.add_argument('--started', type=float, default=time.time(), help=argparse.SUPPRESS)
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from demo_stages import run

    run(args)


if __name__ == '__main__':
    sys.exit(main())
