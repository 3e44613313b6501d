"""The order of the tests, and where their fixtures are."""

import gc


def pytest_configure(config):
    """The process that hands out files to workers runs no test, so it does without the imports."""
    if hasattr(config, 'workerinput') or not config.getoption('numprocesses', None):
        gc.disable()  # imports and rewritten assertions are kept anyway: a third of the collection
        config.pluginmanager.import_plugin('shared_fixtures')


def pytest_collection_modifyitems(items):
    """Files with slow tests run first: a long one that begins last would run alone."""
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
    """Collections of garbage need not look through all imports."""
    gc.freeze()
    gc.enable()
