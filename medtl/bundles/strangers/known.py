"""The lists that the judgement of a bundle rests on: which packages are known, and what in them reaches further than
arrays and networks. Pure data."""


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


KNOWN_PACKAGES = words(
    "torch monai ignite numpy pandas scipy sklearn skimage nibabel pydicom itk PIL einops torchvision timm medtl "
    "data_prep"
)
# parts of Python whose functions start no process, open no socket and write no file; pathlib's methods are told by name
HARMLESS_PYTHON = words(
    "abc array bisect calendar cmath collections contextlib copy csv dataclasses datetime decimal enum fnmatch "
    "fractions functools glob hashlib heapq itertools json logging math numbers operator pathlib random re "
    "statistics string textwrap time typing uuid warnings"
)
# of modules that otherwise reach the machine, what may be named
HARMLESS_PARTS = {
    "os": words("path sep linesep pathsep curdir pardir cpu_count fspath getcwd listdir makedirs name"),
    "sys": words("argv byteorder exit float_info maxsize platform stderr stdout version version_info"),
}
RANKS = words(
    "LOCAL_RANK RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT CUDA_VISIBLE_DEVICES OMP_NUM_THREADS"
)  # the environment variables of torchrun and its kin, which may be read

# modules of the machine, wherever in a dotted name they stand: torch.os.system is os.system
MACHINE = words(
    "os sys posix nt subprocess shutil socket socketserver ssl ctypes cffi pickle cPickle dill cloudpickle joblib "
    "marshal shelve importlib imp runpy pkgutil zipimport builtins codeop pty pdb tempfile urllib urllib2 urllib3 "
    "requests http httpx aiohttp ftplib smtplib telnetlib xmlrpc webbrowser asyncio multiprocessing zipfile tarfile "
    "mmap fcntl"
)
BUILTINS_THAT_REACH = words(
    "eval exec compile open input breakpoint globals locals vars delattr setattr help __import__ __build_class__"
)
FINE_DUNDERS = words("__version__ __name__ __doc__ __len__ __getitem__ __call__ __contains__")
# attributes that reach the machine whatever object they are taken from
REACHING_ATTRIBUTES = words(
    # processes and imports
    "system popen Popen spawnl spawnle spawnlp spawnv spawnve spawnvp execl execle execlp execv execve execvp "
    "fork kill check_call check_output getoutput getstatusoutput run_cmd import_module exec_module load_module "
    "CDLL cdll LoadLibrary load_library "
    # files
    "write writelines write_text write_bytes rename unlink rmdir removedirs rmtree symlink_to hardlink_to touch "
    "chmod chown lchmod save savefig savez savetxt tofile to_pickle to_csv to_excel to_hdf to_json to_parquet to_sql "
    "extractall "
    # environment and network
    "putenv unsetenv urlopen urlretrieve load_url load_state_dict_from_url "
    # Python's own inside
    "get_field f_globals f_locals f_builtins f_back gi_frame gi_code cr_frame ag_frame tb_frame co_code func_globals"
)
# names of the known packages that run, fetch, unpickle or write by themselves; what is below them counts, too
REACHING_NAMES = {
    "torch.hub": "downloads and runs code",
    "torch.package": "unpickles and imports code",
    "torch.utils.cpp_extension": "compiles and runs code",
    "torch.utils.model_zoo": "downloads and unpickles",
    "torch.utils.collect_env": "starts processes",
    "torch.utils.bottleneck": "runs scripts",
    "torch.ops.load_library": "loads machine code",
    "torch.classes.load_library": "loads machine code",
    "torch.fx": "compiles text to code",
    "torch.multiprocessing": "starts processes",
    "torch.distributed.rpc": "runs code of other processes",
    "torch.distributed.run": "starts processes",
    "torch.distributed.launch": "starts processes",
    "torch.distributed.launcher": "starts processes",
    "torch.distributed.elastic": "starts processes",
    "torch.serialization.add_safe_globals": "widens what weights may run",
    "torch.serialization.safe_globals": "widens what weights may run",
    "torch.serialization.skip_data": "changes how weights are read",
    "torch.save": "writes a file",
    "torch.serialization.save": "writes a file",
    "numpy.save": "writes a file",
    "numpy.savez": "writes a file",
    "numpy.savez_compressed": "writes a file",
    "numpy.savetxt": "writes a file",
    "numpy.memmap": "opens a file, for writing too",
    "numpy.DataSource": "downloads",
    "numpy.ctypeslib": "loads machine code",
    "numpy.f2py": "compiles and runs code",
    "numpy.testing": "runs text as code",
    "numpy.distutils": "starts processes",
    "pandas.read_pickle": "unpickles",
    "pandas.eval": "runs text as code",
    "pandas.read_hdf": "may unpickle",
    "scipy.LowLevelCallable": "calls machine code",
    "sklearn.datasets": "may download and unpickle",
    "skimage.data": "may download",
    "skimage.io.imsave": "writes a file",
    "nibabel.save": "writes a file",
    "pydicom.dcmwrite": "writes a file",
    "itk.imwrite": "writes a file",
    "PIL.ImageMath": "runs text as code",
    "PIL.ImageShow": "starts processes",
    "PIL.ImageGrab": "looks at the screen",
    "torchvision.datasets.utils": "downloads",
    "timm.data": "may download",
    "timm.models.hub": "downloads",
    "timm.models._hub": "downloads",
    "timm.models.load_checkpoint": "may unpickle",
    "timm.models.load_state_dict": "may unpickle",
    "timm.utils": "writes files",
    "monai.bundle": "runs or downloads bundles",
    "monai.fl": "runs bundles of other machines",
    "monai.auto3dseg": "unpickles and starts processes",
    "monai.apps.auto3dseg": "unpickles and starts processes",
    "monai.apps.nnunet": "starts processes",
    "monai.apps.mmars": "downloads and runs configs",
    "monai.apps.utils": "downloads and unpacks",
    "monai.apps.tcia": "downloads",
    "monai.utils.module.optional_import": "imports a module by its name",
    "monai.utils.module.instantiate": "calls what it is told by name",
    "monai.utils.module.load_submodules": "imports modules",
    "monai.utils.misc.run_cmd": "starts processes",
    "ignite.distributed.launcher": "starts processes",
    "ignite.distributed.Parallel": "starts processes",
    "ignite.distributed.spawn": "starts processes",
    "ignite.distributed.utils.spawn": "starts processes",
    "medtl.__main__": "is a command of its own",
    "medtl.bundles.release": "writes bundles",
    "medtl.weights.archive": "writes bundles",
    "medtl.cli": "is a command of its own",
    "medtl.files": "writes files",
    "medtl.weights.fetch": "downloads",
    "medtl.compare": "starts processes",
    "medtl.writers": "writes files",
    "logging.config": "runs text as code",
    "logging.handlers": "opens sockets and files",
    "logging.FileHandler": "writes a file",
    "logging.basicConfig": "may write a file",
    "operator.attrgetter": "looks up attributes by computed names",
    "operator.methodcaller": "calls methods by computed names",
    "string.Formatter": "looks up attributes by computed names",
    "typing.get_type_hints": "runs text as code",
}
# what may be called where its arguments are read, and not handed on to something that calls it with others
JUDGED_BY_ARGUMENTS = words("builtins.getattr torch.load torch.serialization.load numpy.load")
# data_prep reads and writes whole data sets; a config needs the built-in sample alone
ALLOWED_OF_DATA_PREP = "data_prep.sample"
