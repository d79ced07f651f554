"""medtl: from raw public medical-imaging downloads to shareable pretrained MONAI bundles. Not for clinical use."""

__version__ = "0.1.0"
