"""The commands of ``peftcore``, by subject; :mod:`peftcore.__main__` puts them under one name."""
