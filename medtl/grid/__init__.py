"""``medtl compare``: a grid of fine-tuning runs, each in a process of its own, that goes on where it was."""
