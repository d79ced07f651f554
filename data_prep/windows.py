"""CT windows, (centre, width) in HU."""

SOFT_TISSUE = (40.0, 400.0)
LUNG = (-600.0, 1500.0)
