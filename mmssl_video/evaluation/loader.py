"""Load the videos of a list for an encoder."""

from collections.abc import Iterator

from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets.sources import FileCheck
from mmssl_video.errors import BadVideoError, UserError
from mmssl_video.passes import from_main_process

DATASET_OPTIONS = ('filename_tmpl', 'start_index', 'backend_args', 'check_files', 'local_root')
SAMPLERS = ('SampleFrames', 'DenseSampleFrames', 'UniformSample')


def feature_pipeline(cfg: Config, num_frames: int | None = None) -> list[dict]:
    """Get the pipeline that covers a whole video.

    It is the config's ``feature_pipeline``, or else its ``test_pipeline``.

    Args:
        cfg: Config of pretraining or of an MMAction2 recognizer.
        num_frames: Number of frames (2D) or clips (3D), evenly spaced; default the pipeline's own.

    Raises:
        UserError: If the config has no such pipeline, or no sampler in it has such a number.
    """
    pipeline = cfg.get('feature_pipeline') or cfg.get('test_pipeline')
    if pipeline is None:
        raise UserError(f'{cfg.filename} has neither feature_pipeline nor test_pipeline; add one')
    pipeline = [step.copy() for step in pipeline]
    if num_frames is not None:
        samplers = [step for step in pipeline if step['type'] in SAMPLERS]
        if not samplers:
            raise UserError(
                f'`num_frames={num_frames}`: the feature pipeline of {cfg.filename} has none of '
                f'{", ".join(SAMPLERS)}; leave it out, or change the pipeline'
            )
        samplers[0]['num_clips'] = num_frames
    return pipeline


def dataset_options(cfg: Config) -> dict:
    """Dataset options copied from the training config."""
    trained_on = cfg.get('train_dataloader', {}).get('dataset', {})
    return {key: trained_on[key] for key in DATASET_OPTIONS if key in trained_on}


class VideoLoader:
    """Reads the videos of a list. A video keeps its number even if others are left out.

    Args:
        pipeline: From :func:`feature_pipeline`.
        ann_file: MMAction2 list; without one, every video below ``data_root``.
        data_root: Folder that the list is relative to.
        batch_size: Videos at a time.
        num_workers: Decoding workers; 0 for none.
        skip_bad: Whether to leave out videos that cannot be read, each with a warning.
        dataset: Further arguments of ``UnlabeledVideoDataset``, e.g. :func:`dataset_options`.

    Attributes:
        room (int): Bytes of clips that may still be kept from one pass to the next; 0 at first.
        kept (dict[int, dict]): Batches that are kept, by the number of their first video.

    Raises:
        UserError: If the list cannot be read or has no video, or, without ``skip_bad``, a file in
            it is no video.
    """

    def __init__(
        self,
        pipeline: list[dict],
        ann_file: str,
        data_root: str,
        batch_size: int = 4,
        num_workers: int = 2,
        skip_bad: bool = False,
        dataset: dict | None = None,
    ) -> None:
        raw_frames = any(step['type'] == 'RawFrameDecode' for step in pipeline)
        options = dict(dataset or {})
        check = options.pop('check_files', 'full')
        self.dataset = UnlabeledVideoDataset(
            pipeline,
            ann_file,
            {'img' if raw_frames else 'video': data_root},
            # If a check left out videos, the numbers of the others would change.
            check_files='none' if skip_bad else check,
            test_mode=True,
            **options,
        )
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.skip_bad = skip_bad
        self.room = 0
        self.kept: dict[int, dict] = {}
        # Reading some frames of a folder does not show that others have wrong numbers.
        look = skip_bad and raw_frames and check == 'full'
        self._faults = from_main_process(self._check_folders) if look else {}

    def _check_folders(self) -> dict[int, str]:
        """Find what is wrong with folders of frames, by their numbers."""
        videos = self.dataset
        check = FileCheck('full', videos.filename_tmpl, videos.start_index, videos.backend_args)
        faults = check.find_faults([videos.get_data_info(n) for n in range(len(videos))])
        return {number: reason for number, (reason, _) in faults.items()}

    def keep(self, batch: dict) -> None:
        """Keep a batch of :meth:`read` for later passes, if there is room."""
        first = batch['number'][0] // self.batch_size * self.batch_size
        size = sum(clips.nbytes for clips in batch['inputs'])
        if first not in self.kept and size <= self.room:
            self.room -= size
            # A copy, because tensors from workers are in shared memory, which is scarce.
            inputs = [clips.clone() for clips in batch['inputs']]
            self.kept[first] = {**batch, 'inputs': inputs}

    def read(self, numbers: list[int]) -> Iterator[dict | BadVideoError]:
        """Yield why videos cannot be read, then a batch of the others with their ``number``."""
        samples = []
        for number in numbers:
            if number in self._faults:
                yield BadVideoError(self.dataset.get_path(number), self._faults[number])
                continue
            try:
                samples.append({**self.dataset[number], 'number': number})
            except BadVideoError as error:
                yield error
        if samples:
            yield pseudo_collate(samples)
