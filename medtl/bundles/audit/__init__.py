"""What a bundle of somebody else's making would execute, told by reading alone, against a short list of reviewed names.

Whatever is not on the list (``reviewed.txt``) is unreviewed: nobody has said that it is dangerous, and nobody has said
that it is not.
"""
