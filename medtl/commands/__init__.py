"""One file a command of ``medtl``: it parses its words, calls one function and prints what that gave."""
