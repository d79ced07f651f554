"""Pretraining: one file a method (what is shown, what is asked, how the answer is scored), and what runs any of them.

``method`` says what a method is and finds them; ``batches`` and ``network`` run one, or a sum of several.
"""
