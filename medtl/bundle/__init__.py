"""What a bundle's configs call besides MONAI: strict overrides, checked data, run folders with provenance."""
