"""Raw public downloads in, images and a checked datalist.json out: ``python -m data_prep NAME --raw DIR --out DIR``."""
