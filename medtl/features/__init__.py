"""Frozen features of pictures: computed once, kept in medtl's cache, judged by small heads within seconds."""
