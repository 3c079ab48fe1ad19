"""Whether this Python can recognise speech. Tests of speech say what happens in both cases."""

from importlib.util import find_spec

HAS_SPEECH = find_spec("pocketsphinx") is not None
"""pocketsphinx has no wheel for Python 3.12 and newer."""
