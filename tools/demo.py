"""From videos without labels to a backbone, and the proof that it learned something.

Run it as `bash tools/demo.sh [VIDEO_DIR]`, which also sets up an environment. The stages, of which
an earlier run's videos, trainings and features of untrimmed videos are taken as they are:

1. videos: without VIDEO_DIR a generated set, one third of it labelled and held out;
2. pretraining without labels, through tools/train.py, by the recipe of --config. Without one it is
   VCLR of frames, configs/vclr/vclr_r18_demo.py; with VIDEO_DIR CVRL on differences of frames,
   configs/cvrl/cvrl_r3d-r18_1x32-12x2x2-40e_folder-rgbdiff.py, which docs/choosing.md recommends
   for motion;
3. features of the held-out videos: pretrained weights, random weights, and two that nothing has
   learned, the mean frame and the frame difference; with each retrieval, a linear SVM and a linear
   probe. It says so where pretraining does no better than one of the others;
4. fine-tuning with a few labels, from the pretrained and from random weights;
5. without VIDEO_DIR and --config: actions in untrimmed videos, found by BMN on features of either;
6. pictures: what the network looks at (Grad-CAM), a map of the features, proposals of actions, of
   masked prediction what it makes of hidden tokens;
7. metrics.json and report.html.

With VIDEO_DIR the backbone is pretrained on your videos, searched at any depth, linked folders too:

- If the folder has a train.txt and a test.txt, MMAction2 lists with lines `path label`, it is
  pretrained on the first, which is also searched in, with queries of the second.
- Else, if it has folders train and test (or val) with class sub-folders, these are the same.
- Else, if the videos lie in class sub-folders, a third of each class is held out as queries. Clips
  of one source, as far as their names tell it, stay on one side.
- Else there are no labels, and only the loss curves and Grad-CAM are reported.

It is a quick look: of more than some thousand videos a sample is drawn, of each class equally many.
Batches, and queues with them, are smaller for few videos. The demo's own recipe gets epochs to see
as many videos in all as of the generated set; another one keeps its epochs.

The same command goes on with an interrupted run. It starts anew where videos, lists or the recipe
have changed; other files in the folder do not matter.
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
