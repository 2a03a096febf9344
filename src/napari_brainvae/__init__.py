"""See how brains differ: a beta-VAE on registered brain sections, read in two directions.

Everything a notebook needs is here and is imported when it is first asked for, so that importing
the package stays quick. `__init__.pyi` says what there is.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("napari-brainvae")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
