"""Measurements that ask why a start transfers: how far data sets lie apart, how alike two networks' layers are, and
what the first filters look like.

``affine``, ``distances``, ``similarity`` and ``gabor`` are formulas; ``between``, ``layers`` and ``filters`` apply them
and write a page each.
"""
