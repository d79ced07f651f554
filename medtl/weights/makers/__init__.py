"""Who published weights: one file a maker, scanned by ``sources``; each registers one record a word of ``--init``."""
