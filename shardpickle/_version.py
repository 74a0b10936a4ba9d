"""The version of the package: that of the git tag it was built from."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("shardpickle")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"
