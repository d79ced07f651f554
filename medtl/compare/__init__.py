"""``medtl compare``: a grid of runs, planned as data, each run in a process of its own, gone on with where it was.

``words`` reads the command, ``protocol`` a published design, ``checks`` what can be wrong with both; ``plan`` says
which cells there are and what each sets, ``state`` what is done already, ``run`` does the rest: a cell at a time in
``cell``, in forks of a ``warm`` process, here or on the workers of a ``cluster``.
"""
