"""trio_mix: the Trio-native client for Mix agent servers."""

from trio_mix._version import __version__ as __version__
