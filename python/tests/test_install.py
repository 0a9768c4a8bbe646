"""The installed package is what is tested, and is whole."""

import importlib.metadata
import sys
from importlib.resources import files

import kvs


def test_the_installed_copy_is_imported() -> None:
    assert kvs.__file__.startswith(sys.prefix), "run these tests through python/tests/run.sh"


def test_version_is_that_of_the_wheel() -> None:
    assert kvs.__version__ == importlib.metadata.version("kvs")


def test_typing_files_are_in_the_wheel() -> None:
    assert files("kvs").joinpath("py.typed").is_file()
    assert files("kvs").joinpath("_kvs.pyi").is_file()


def test_all_names_exist_and_say_where_they_live() -> None:
    for name in kvs.__all__:
        thing = getattr(kvs, name)
        if isinstance(thing, type):
            assert (thing.__module__, thing.__qualname__) == ("kvs", name)
