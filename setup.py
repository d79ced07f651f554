"""What setup.cfg cannot say: a wheel holds bundles/ as medtl/_bundles, where ``medtl.catalogue`` finds them.

An editable installation finds them in the checkout. What an earlier build left in build/lib is deleted first, because
setuptools puts all that lies there into the wheel, files among it that the repository no longer has.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BUNDLES = Path("bundles")
PACKAGES = ("medtl", "data_prep")


def bundle_files() -> list[Path]:
    """Return the files of all bundles; the recipes that they are generated from are no bundle."""
    folders = sorted(path.parents[1] for path in BUNDLES.glob("*/configs/metadata.json"))
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in found if not any(part.startswith((".", "__pycache__")) for part in path.parts)]


class WithBundles(build_py):
    """``build_py`` that copies the bundles, too."""

    def _copies(self) -> dict[str, str]:
        place = Path(self.build_lib, "medtl", "_bundles")
        files = [] if self.editable_mode else bundle_files()
        return {str(path): str(place / path.relative_to(BUNDLES)) for path in files}

    def run(self) -> None:
        """Copy packages and bundles, and nothing of an earlier build."""
        if not self.editable_mode:
            for name in PACKAGES:
                shutil.rmtree(Path(self.build_lib, name), ignore_errors=True)
        super().run()
        for path, copy in self._copies().items():
            self.mkpath(str(Path(copy).parent))
            self.copy_file(path, copy)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return all files that ``run`` writes."""
        return [*super().get_outputs(include_bytecode), *self._copies().values()]

    def get_source_files(self) -> list[str]:
        """Return all files that ``run`` reads, so that a source distribution holds them."""
        return [*super().get_source_files(), *map(str, bundle_files())]


setup(cmdclass={"build_py": WithBundles})
