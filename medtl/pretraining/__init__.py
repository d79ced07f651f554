"""Pretraining: one file a method (what is shown, what is asked, how the answer is scored), and what runs any of them.

``method`` says what a method is and finds them, ``network`` and ``batches`` run one or a sum of several.
"""
