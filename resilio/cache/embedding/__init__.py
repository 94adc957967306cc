"""Embedders: texts as vectors of unit length."""
