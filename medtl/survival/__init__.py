"""Survival: bags of features of each patient, networks that give one risk a bag, and the Cox loss that trains them.

The scores of such risks (C-indices, Kaplan-Meier, log-rank) are in ``medtl.metrics.survival``.
"""
