"""Load configs, change them by options, and check them before anything is built.

The check finds settings that nothing reads.
"""

import ast
import difflib
import inspect
import multiprocessing
import os
import textwrap
from argparse import ArgumentParser
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from typing import Any

import mmaction.registry
import torch.utils.data
from mmengine.config import Config, DictAction
from mmengine.hub import get_config
from mmengine.model import MMDistributedDataParallel as DDP
from mmengine.registry import Registry
from mmengine.runner import Runner
from yaml import YAMLError

from .errors import UserError
from .video.find import require_file

REGISTRIES = [item for item in vars(mmaction.registry).values() if isinstance(item, Registry)]
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Keys that tools and MMEngine read in addition to the arguments of the Runner.
READ_BY_TOOLS = {
    'auto_scale_lr',
    'compile',
    'custom_imports',
    'feature_head',
    'feature_pipeline',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
}
READ = READ_BY_TOOLS | set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
# Keys that MMEngine removes before it passes the rest to the class, by a part of the path.
TAKEN_OUT = {
    'optim_wrapper': {'constructor', 'paramwise_cfg', 'optimizer'},
    'param_scheduler': {'convert_to_iter_based', 'end', 'by_epoch'},
    'custom_hooks': {'priority'},
    'default_hooks': {'priority'},
}
LOADER = {'dataset', 'sampler', 'batch_sampler', 'collate_fn', 'num_batch_per_epoch'}
# Arguments that torch refuses together with num_workers=0.
OF_WORKERS = ('persistent_workers', 'prefetch_factor', 'timeout', 'multiprocessing_context')
# Built by mmcv or inside one class, with names or keys that no registry knows.
LEFT_ALONE = ('_cfg', 'consensus', '_pathway')


def load_config(config: str | os.PathLike | Config) -> Config:
    """Load a config.

    Args:
        config: A file; a config of this package, ``'mmssl_video::cvrl/NAME.py'``, which is found
            in any installation; or a config object, which is copied.

    Raises:
        UserError: If there is no such file, it may not be read, or it is no config.
    """
    if isinstance(config, Config):
        return deepcopy(config)
    in_package = '::' in str(config)
    if not in_package:
        require_file(config, 'no such config file')
    try:
        return get_config(str(config)) if in_package else Config.fromfile(config)
    except SyntaxError as error:
        raise UserError(
            f'{config}: this config, or one in its _base_, has a mistake in line {error.lineno} '
            f'({error.msg}); correct it'
        ) from error
    except (OSError, ValueError, AssertionError, YAMLError) as error:
        raise UserError(
            f'{config}: cannot be loaded as a config ({" ".join(str(error).split())}); correct the '
            'path, or the file'
        ) from error


def read_options(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Read the ``KEY=VALUE`` of ``--cfg-options`` as MMEngine's own tools do.

    Returns:
        dict: Values by their paths: numbers, booleans, lists and tuples; anything else is a
        string.
    """
    parser = ArgumentParser()
    parser.add_argument('options', nargs='*', action=DictAction)
    return parser.parse_args(list(pairs or [])).options or {}


def check_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Refuse options without effect.

    A key has to begin with one that the Runner or a tool reads: variables of a config file
    (``train_pipeline``) are read only while the file is loaded. If names can be chosen freely
    (``model.heads``), an option that is set to None has to exist.

    Args:
        cfg: The config as in the file.
        options: The options of ``--cfg-options``, by their paths.

    Raises:
        UserError: Names the option and the nearest known key, or what its parent has.
    """
    for path, value in options.items():
        first, *rest = path.split('.')
        if first not in READ:
            remedy = nearest(first, READ)
            if first in cfg and first.endswith('_pipeline'):
                loader = f'{first.removesuffix("_pipeline")}_dataloader.dataset.pipeline'
                remedy = f' after the config is loaded; use {".".join([loader, *rest])}'
            raise UserError(f'--cfg-options {path}: nothing reads {first!r}{remedy}')
        parent = _find_parent(cfg, path, options)
        free = parent is not None and 'type' not in parent and bool(rest)
        if value is None and free and rest[-1] not in parent:
            raise UserError(
                f'--cfg-options {path}=None: there is no {rest[-1]!r}{nearest(rest[-1], parent)}'
            )


def _find_parent(cfg: Config, path: str, options: Mapping[str, Any]) -> Mapping | None:
    """Find the mapping that an option changes; ``None`` if the options make it."""
    parent: Any = dict(cfg.items())
    keys = path.split('.')
    for depth, key in enumerate(keys):
        place, is_last = '.'.join(keys[:depth]), depth == len(keys) - 1
        if f'{place}._delete_' in options:
            return None
        if isinstance(parent, list):
            if not key.isdigit() or int(key) >= len(parent):
                entries = f'has entries 0 to {len(parent) - 1}' if parent else 'is an empty list'
                raise UserError(f'--cfg-options {path}: {place} {entries}, but no {key!r}')
            if is_last and not isinstance(options[path], Mapping):
                raise UserError(
                    f'--cfg-options {path}: one entry cannot be replaced; set the whole {place}'
                )
        elif not isinstance(parent, Mapping):
            raise UserError(
                f'--cfg-options {path}: {place} is {parent!r}, which has no {key!r}; set {place}'
            )
        elif is_last:
            return parent
        elif key not in parent:
            return None
        parent = parent[int(key) if isinstance(parent, list) else key]
    return None


def apply_options(cfg: Config, options: Mapping[str, Any] | None) -> None:
    """Merge the options of ``--cfg-options`` into a config, in place.

    Settings for workers are removed from loaders without workers, so ``num_workers=0`` is enough.

    Raises:
        UserError: If an option has no effect.
    """
    if options:
        check_options(cfg, options)
        cfg.merge_from_dict(options)
    for key, loader in cfg.items():
        if key.endswith('_dataloader') and loader and not loader.get('num_workers'):
            for setting in OF_WORKERS:
                loader.pop(setting, None)


def check_config(cfg: Config) -> None:
    """Refuse settings that nothing reads, and schedules that do not fit the run.

    It refuses:

    - a ``type`` that is not registered, and arguments that it does not take;
    - numbers that are none, such as ``max_epochs='ten'``, and only a part of the validation;
    - another runner than MMEngine's ``Runner``, and another wrapper of the model than
      ``MMDistributedDataParallel``;
    - schedules in epochs that all end before the run;
    - ``round_up=False`` of the sampler for pretraining in several processes;
    - an augmentation on the device if its draws do not get there;
    - lists and folders of videos that are no paths, and start methods of processes that are none;
    - MMEngine's ``compile`` for a recognizer that has its own.

    Args:
        cfg: The config with the options merged into it.

    Raises:
        UserError: Names the path in the config, the key, and the nearest known key.
    """
    for key in sorted(READ & cfg.keys()):
        _check(cfg[key], key)
    _check_numbers(cfg)
    _check_runner(cfg)
    _check_schedule(cfg)
    _check_sampler(cfg)
    _check_photometric(cfg)
    _check_paths(cfg)
    _check_start_methods(cfg)
    if cfg.get('compile') and cfg.model.type == 'SSLRecognizer':
        raise UserError(
            'compile compiles the whole step, and repeats this whenever a queue advances; set '
            f'model.compile={cfg.compile} instead, which compiles only the backbones'
        )


def _check_numbers(cfg: Config) -> None:
    """Check lengths, loaders and learning rate, and that validation is complete or absent."""
    least = {'train_cfg': dict(max_epochs=1, max_iters=1)}
    for part in ('train', 'val', 'test'):
        least[f'{part}_dataloader'] = dict(batch_size=1, num_workers=0)
    for name, numbers in least.items():
        for key, lowest in numbers.items():
            value = (cfg.get(name) or {}).get(key)
            if value is not None and (not isinstance(value, int) or value < lowest):
                raise UserError(f'{name}.{key} is {value!r}; give a whole number from {lowest} on')
    lr = ((cfg.get('optim_wrapper') or {}).get('optimizer') or {}).get('lr', 0)
    if not isinstance(lr, (int, float)) or not lr >= 0:
        raise UserError(f'optim_wrapper.optimizer.lr is {lr!r}; give a number from 0 on')
    validation = {name: cfg.get(name) for name in ('val_dataloader', 'val_cfg', 'val_evaluator')}
    missing = [name for name, value in validation.items() if value is None]
    if 0 < len(missing) < len(validation):
        raise UserError(f'validation has no {" and no ".join(missing)}; set all three, or none')


def _check_runner(cfg: Config) -> None:
    """Check that one class runs the config, and one wraps the model in several processes.

    The hooks use attributes of MMEngine's ``Runner``. FSDP splits each weight over the processes,
    but a target network, LARS and the norm of the gradient need whole ones.
    """
    wrapper = cfg.get('model_wrapper_cfg') or {}
    for path, name, supported in (
        ('runner_type', cfg.get('runner_type', 'Runner'), Runner),
        ('model_wrapper_cfg.type', wrapper.get('type', DDP.__name__), DDP),
    ):
        found = [name] if callable(name) else list(_find(name))
        if not found and '.' in name:
            continue  # in another package's scope, which MMEngine imports
        if not any(inspect.isclass(one) and issubclass(one, supported) for one in found):
            raise UserError(
                f'{path} is {name!r}, but only {supported.__name__} of MMEngine, with its '
                'subclasses, is supported; leave the setting out'
            )


def _check_schedule(cfg: Config) -> None:
    """Check that the last schedule lasts until the end of the run; one without ``end`` does."""
    epochs = (cfg.get('train_cfg') or {}).get('max_epochs')
    schedules = cfg.get('param_scheduler') or []
    schedules = schedules if isinstance(schedules, (list, tuple)) else [schedules]
    ends = [one.get('end', epochs) for one in schedules if one.get('by_epoch', True)]
    if epochs is None or len(ends) < len(schedules) or not ends or max(ends) >= epochs:
        return
    number = ends.index(max(ends))
    raise UserError(
        f'train_cfg.max_epochs is {epochs}, but the last schedule, param_scheduler.{number}, ends '
        f'at epoch {max(ends)}; set param_scheduler.{number}.end={epochs}, or leave it out of the '
        'config'
    )


def _check_sampler(cfg: Config) -> None:
    """Check that all processes get batches of the same size, which embeddings are gathered from."""
    sampler = (cfg.get('train_dataloader') or {}).get('sampler') or {}
    # Only PyTorch's launcher tells the number.
    several = cfg.get('launcher', 'none') != 'none' and os.environ.get('WORLD_SIZE') != '1'
    if several and cfg.model.type == 'SSLRecognizer' and not sampler.get('round_up', True):
        raise UserError(
            'train_dataloader.sampler.round_up is False, so processes may get batches of different '
            'sizes, and embeddings of different batches cannot be gathered; leave it out or set it '
            'to True: the sampler then repeats some videos'
        )


def _check_photometric(cfg: Config) -> None:
    """Check that the draws of ``SharedAugment(photometric='device')`` are packed and applied."""
    parts = list(_parts(cfg.get('train_dataloader')))
    if not any(part.get('photometric') == 'device' for part in parts):
        return
    remedy = "or SharedAugment.photometric='worker'"
    for part in parts:
        if part['type'] == 'PackActionInputs':
            raise UserError(
                "train_dataloader: SharedAugment.photometric is 'device', but PackActionInputs "
                f'leaves out what it draws; use PackViews in its place, {remedy}'
            )
    preprocessor = (cfg.model.get('data_preprocessor') or {}).get('type')
    if preprocessor != 'SSLDataPreprocessor':
        raise UserError(
            f'model.data_preprocessor.type is {preprocessor!r}, which does not augment; use '
            f"'SSLDataPreprocessor' for SharedAugment.photometric='device', {remedy}"
        )


def _check_paths(cfg: Config) -> None:
    """Check that each data set has one path for its list and one for its folder.

    Those of other packages may have several.
    """
    for name in LOADERS:
        for part in _parts(cfg.get(name)):
            packages = {found.__module__.split('.')[0] for found in _find(part['type'])}
            if not packages & {'mmssl_video', 'mmaction'}:
                continue
            prefix = part.get('data_prefix')
            prefix = prefix if isinstance(prefix, Mapping) else {}
            paths = {f'data_prefix.{key}': path for key, path in prefix.items()}
            for key, path in (paths | {'ann_file': part.get('ann_file')}).items():
                if not isinstance(path, (str, os.PathLike, type(None))):
                    raise UserError(
                        f'{name}: {key} of {part["type"]} is {path!r}; give one path, and write '
                        'one with a comma into a config, because --cfg-options splits at it'
                    )


def _check_start_methods(cfg: Config) -> None:
    """Check how processes are started."""
    here = multiprocessing.get_all_start_methods()
    everywhere = ['fork', 'spawn', 'forkserver']  # MMEngine does not read its own on Windows
    start = (cfg.get('env_cfg') or {}).get('mp_cfg')
    for path, settings, key, known in (
        *((name, cfg.get(name), 'multiprocessing_context', here) for name in LOADERS),
        ('env_cfg.mp_cfg', start, 'mp_start_method', everywhere),
    ):
        value = (settings or {}).get(key)
        if isinstance(value, str) and value not in known:
            raise UserError(f'{path}.{key} is {value!r}; use {", ".join(map(repr, known))}')


def _parts(value: Any) -> Iterator[Mapping]:
    """All settings with a ``type``, at any depth."""
    if isinstance(value, Mapping):
        if 'type' in value:
            yield value
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return
    for item in value:
        yield from _parts(item)


def _check(value: Any, path: str) -> None:
    """Check a setting and all below it."""
    if '.' in path and path.endswith(LEFT_ALONE):
        return
    if isinstance(value, Mapping):
        if 'type' in value:
            _check_arguments(value, path)
        elif path.endswith('_dataloader'):
            known = LOADER | set(inspect.signature(torch.utils.data.DataLoader).parameters)
            _report(value.keys() - known, path, 'a data loader', known)
        for key, item in value.items():
            _check(item, f'{path}.{key}')
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            _check(item, f'{path}.{number}')


def _check_arguments(value: Mapping, path: str) -> None:
    """Check that a class is known and takes the given arguments."""
    found = [value['type']] if callable(value['type']) else list(_find(value['type']))
    if not found and '.' in value['type']:
        return  # in another package's scope, which MMEngine imports
    if not found:
        names = {name for registry in REGISTRIES for name in _registered(registry)}
        guess = nearest(value['type'], names) or '; is its package in custom_imports?'
        raise UserError(f'{path}.type: {value["type"]!r} is not registered{guess}')
    given = {key for key in value if not key.startswith('_')} - {'type'}
    place = next((part for part in TAKEN_OUT if part in path.split('.')), None)
    if place == 'optim_wrapper' and path != place:
        place = None
    given -= TAKEN_OUT.get(place, set())
    takes = [arguments(one) for one in found]
    if any(taken is None or given <= taken for taken in takes):
        return
    taken = min(takes, key=lambda names: len(given - names))
    _report(given - taken, path, value['type'], taken)


def _report(unknown: Iterable[str], path: str, owner: Any, known: Iterable[str]) -> None:
    for key in sorted(unknown):
        name = owner if isinstance(owner, str) else owner.__name__
        raise UserError(f'{path}.{key}: {name} takes no {key!r}{nearest(key, known)}')


def _find(name: str) -> Iterator[Any]:
    """Find what is registered under a name, in MMAction2's registries and MMEngine's."""
    for registry in REGISTRIES:
        try:
            registry.import_from_location()
            # `get` also takes the name for that of a module, and tries to import it.
            found = registry.get(name) if '.' in name else _registered(registry).get(name)
        except ImportError:  # some of MMAction2's registries need a package that is not installed
            continue
        if found is not None:
            yield found


def _registered(registry: Registry) -> Mapping[str, Any]:
    """What a registry and its parent hold, by name."""
    parent = registry.parent
    return ChainMap(registry.module_dict, parent.module_dict if parent else {})


@cache
def arguments(built: Any) -> set[str] | None:
    """The arguments that a class or function takes; ``None`` if it passes ``**kwargs`` elsewhere.

    If ``__init__`` passes its ``**kwargs`` to the next base class, the arguments of that class are
    added; ``**kwargs`` that are not used add none.
    """
    functions = [built]
    if inspect.isclass(built):
        bases = inspect.getmro(built)[:-1]  # without object
        functions = [vars(base)['__init__'] for base in bases if '__init__' in vars(base)]
    names: set[str] = set()
    for function in functions:
        parameters = inspect.signature(function).parameters.values()
        names |= {one.name for one in parameters if one.kind != one.VAR_KEYWORD}
        if all(one.kind != one.VAR_KEYWORD for one in parameters):
            return names
        uses = _uses_of_kwargs(function)
        if uses != {'the base class'}:
            return None if uses else names
    return names


def _uses_of_kwargs(function: Any) -> set[str]:
    """Find what an ``__init__`` does with its ``**kwargs``: nothing, or pass them on."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    kwargs = tree.body[0].args.kwarg.arg
    uses = set()
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith('super('):
            named = [word for word in call.keywords if word.arg is not None]
            if len(named) < len(call.keywords):
                uses.add('the base class')
            call.keywords = named
    if any(isinstance(name, ast.Name) and name.id == kwargs for name in ast.walk(tree)):
        uses.add('something else')
    return uses


def nearest(key: str, known: Iterable[str]) -> str:
    """Suggest the nearest known name for the end of a message, if there is a near one."""
    guess = difflib.get_close_matches(str(key), sorted(map(str, known)), n=1)
    return f'; did you mean {guess[0]!r}?' if guess else ''
