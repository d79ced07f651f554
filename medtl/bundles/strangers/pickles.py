"""What a pickle would import and call, from its opcodes; nothing is unpickled."""

import itertools
import pickletools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from medtl.bundles.strangers.known import words

# what torch.load(weights_only=True) knows how to do; whatever else stands in a file, it refuses
TENSOR_OPCODES = words(
    "PROTO STOP GLOBAL NEWOBJ REDUCE BUILD APPEND APPENDS SETITEM SETITEMS MARK TUPLE TUPLE1 TUPLE2 TUPLE3 NONE "
    "NEWFALSE NEWTRUE EMPTY_TUPLE EMPTY_LIST EMPTY_DICT EMPTY_SET BININT BININT1 BININT2 BINFLOAT BINUNICODE "
    "SHORT_BINSTRING BINPERSID BINGET LONG_BINGET BINPUT LONG_BINPUT LONG1"
)
MOST_OPCODES = 2_000_000  # a network of a thousand tensors with its optimiser has some 300,000
IMPORTING = frozenset({"GLOBAL", "INST"})
UNNAMED = {"STACK_GLOBAL": "a global", "EXT1": "an extension", "EXT2": "an extension", "EXT4": "an extension"}
STRINGS = words(
    "STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES"
)
# names that tensors are made of; torch allows a few more
TENSOR_GLOBALS = re.compile(
    r"collections\.(?:OrderedDict|Counter)"
    r"|(?:builtins|__builtin__)\.(?:set|bytearray|complex)|_codecs\.encode"
    r"|torch\.(?:cuda\.)?(?:BFloat16|Bool|Byte|Char|ComplexDouble|ComplexFloat|Double|Float|Half|Int|Long|Short)Storage"
    r"|torch\.(?:QInt8|QInt32|QUInt8|QUInt4x2|QUInt2x4)Storage"
    r"|torch\.(?:cuda\.)?(?:BFloat16|Bool|Byte|Char|Double|Float|Half|Int|Long|Short)Tensor"
    r"|torch\.storage\.(?:Typed|Untyped)Storage|torch\.(?:Size|Tensor|device)"
    r"|torch\.(?:u?int(?:8|16|32|64)|float(?:16|32|64)|bfloat16|bool|complex(?:32|64|128)|q(?:u?int8|int32))"
    r"|torch\.float8_(?:e4m3fn|e4m3fnuz|e5m2|e5m2fnuz|e8m0fnu)"
    r"|torch\.per_(?:tensor|channel)_(?:affine|symmetric)"
    r"|torch\.nn\.parameter\.Parameter|torch\.serialization\._get_layout|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\._utils\._rebuild_(?:tensor|tensor_v2|tensor_v3|parameter|parameter_with_state|qtensor|sparse_tensor"
    r"|meta_tensor_no_storage|nested_tensor|wrapper_subclass)"
)


@dataclass(frozen=True)
class Pickle:
    """One pickle.

    Attributes:
        imports: the dotted names that it would import, in order.
        opcodes: what it does that no file of tensors does.
        first: the first thing that it holds; torch's old format is told by it.
        whole: whether it ends as a pickle does; whoever reads a damaged one runs it as far as it goes.
    """

    imports: tuple[str, ...]
    opcodes: tuple[str, ...]
    first: object
    whole: bool

    @property
    def foreign(self) -> list[str]:
        """The imports that tensors have no need of."""
        return [name for name in self.imports if not TENSOR_GLOBALS.fullmatch(name)]


def read_pickle(file: IO[bytes]) -> Pickle:
    """Read the opcodes of the pickle that begins where the file stands, up to its end."""
    imports: dict[str, None] = {}
    others: dict[str, None] = {}
    first: object = None
    texts: list[str] = []
    remembered: dict[object, str] = {}
    whole = False
    try:
        for opcode, argument, _ in itertools.islice(pickletools.genops(file), MOST_OPCODES):
            if opcode.name in IMPORTING:
                imports[str(argument).replace(" ", ".")] = None
            elif opcode.name in UNNAMED:
                known = opcode.name == "STACK_GLOBAL" and len(texts) > 1
                imports[".".join(texts[-2:]) if known else f"{UNNAMED[opcode.name]} that its text does not name"] = None
            elif opcode.name in STRINGS:
                texts.append(str(argument))
            elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE") and texts:
                remembered[len(remembered) if opcode.name == "MEMOIZE" else argument] = texts[-1]
            elif opcode.name in ("GET", "BINGET", "LONG_BINGET") and argument in remembered:
                texts.append(remembered[argument])
            if opcode.name not in TENSOR_OPCODES:
                others[opcode.name] = None
            if first is None and argument is not None and opcode.name != "PROTO":
                first = argument
            whole = opcode.name == "STOP"
    except Exception:  # pickletools raises many kinds for what is no pickle
        whole = False
    return Pickle(tuple(imports), tuple(others), first, whole)


def read_pickles(file: IO[bytes], most: int) -> Iterator[Pickle]:
    """The pickles of a file, one after the other, until one of them is not whole, the file ends, or ``most`` were
    read."""
    for _ in range(most):
        found = read_pickle(file)
        yield found
        place = file.tell()
        if not found.whole or not file.read(1):
            return
        file.seek(place)
