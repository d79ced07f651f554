"""What an expression would execute is told from its syntax, as MONAI would evaluate it."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medtl.bundles.strangers import expressions
from medtl.bundles.strangers.look import look
from medtl.bundles.strangers.references import absolute, substituted
from medtl.bundles.strangers.sources import meanings, monai_components

ROOT = Path(__file__).resolve().parents[2]
NAMES = {
    "os": frozenset({"os"}),
    "sys": frozenset({"sys"}),
    "torch": frozenset({"torch"}),
    "monai": frozenset({"monai"}),
    "np": frozenset({"numpy"}),
    "pathlib": frozenset({"pathlib"}),
    "pd": frozenset({"pandas"}),
    "functools": frozenset({"functools"}),
    "string": frozenset({"string"}),
}


def faults(text: str) -> list[str]:
    return [why for _, why in expressions.read(text, ("train", "x"), NAMES).faults]


HARMLESS = [
    "$'cuda' if torch.cuda.is_available() else 'cpu'",
    "$torch.device('cuda:' + os.environ['LOCAL_RANK'])",
    "$int(os.getenv('WORLD_SIZE', 1))",
    "$os.path.basename(@bundle_root)",
    "$os.path.isfile(@x) or sys.exit('no %s' % @x)",
    "$torch.load(@weights, map_location='cpu', weights_only=True).items()",
    "$setattr(torch.backends.cudnn, 'benchmark', True)",
    "$torch.backends.cudnn.__setattr__('benchmark', True)",
    "$getattr(@network, 'encoder')",
    "$lambda input: torch.softmax(input['pred'], dim=1)",
    "$[{'image': i} for i in @datalist if pathlib.Path(i).suffix == '.png']",
    "$@record.open(@output_dir)",
    "$@network.eval()",
    "$monai.handlers.from_engine(['pred', 'label'])",
    "$functools.partial(torch.nn.functional.relu, inplace=True)",
    "$print('done', len(@data), 'pictures')",
    "$@train_datalist[: int(0.95 * len(@train_datalist))]",
    "$(lambda *many, **named: (many, named))(1, a=2)",
    "$np.load(@file)",
    "$np.load(@file, 'r')",
    "$@name.replace('.png', '.nii')",
]
HARMFUL = [
    "$os.system('x')",
    "$getattr(os, 'sys' + 'tem')('x')",
    "$getattr(os, 'system')('x')",
    "$__import__('os').system('x')",
    "$__builtins__",
    "$eval('1')",
    "$exec('1')",
    "$open('/etc/passwd').read()",
    "$[eval][0]('1')",
    "$list(map(eval, ['1']))",
    "$(lambda o: o.remove('x'))(os)",
    "$(lambda f=os.remove: f('x'))()",
    "$[os := 1, os][1] or os.remove('x')",
    "$[o.remove('x') for o in [os]]",
    "$[torch.load for torch.load in [1]]",
    "$os.environ['AWS_SECRET_ACCESS_KEY']",
    "$os.environ",
    "$sys.modules['os'].remove('x')",
    "$().__class__.__base__.__subclasses__()",
    "$getattr((), '__class__')",
    "$(x for x in ()).gi_frame.f_back.f_globals",
    "$torch.os.remove('x')",
    "$torch.utils.data.dataloader.os.remove('x')",
    "$monai.utils.module.import_module('os').remove('x')",
    "$monai.utils.optional_import('os')[0].remove('x')",
    "$monai.bundle.load('x')",
    "$torch.load('x')",
    "$torch.load('x', weights_only=False)",
    "$torch.load('x', **@options)",
    "$functools.partial(torch.load, weights_only=True)('x', weights_only=False)",
    "$torch.hub.load('a/b', 'c')",
    "$torch.save(@x, 'y')",
    "$torch._utils.os",
    "$torch.serialization.add_safe_globals([1])",
    "$np.load('x', allow_pickle=True)",
    "$np.load('x', None, True)",
    "$np.load(*@x)",
    "$np.load('x', **@options)",
    "$functools.partial(np.load, 'x', None)(True)",
    "$list(map(getattr, [torch.nn.functional.relu], ['__globals__']))",
    "$[look for look in [getattr]][0](@a, '__globals__')",
    "$string.Formatter().get_field('0.__globals__', [@a], {})",
    "$@formatter.get_field('0.__globals__', [@a], {})",
    "$@a['__builtins__']",
    "$@frame.eval(expr='@pd.io')",
    "$pathlib.Path('x').rename('y')",
    "$@path.replace('y')",
    "$pd.read_pickle('x')",
    "$@frame.query('@pd.io')",
    "$pathlib.Path('x').write_text('y')",
    "$pathlib.Path('x').open('w')",
    "$@path.open('w')",
    "$@path.open(mode='r+b')",
    "$@path.unlink()",
    "$setattr(torch, 'load', 1)",
    "$torch.nn.__setattr__('Module', 1)",
    "$torch",
    "$os.path",
    "$unheard_of.thing()",
    "$import subprocess",
    "$import socket as s",
    "$from os import system as harmless",
    "$from torch.utils.data.dataloader import os",
    "$from . import thing",
    "$import requests",
    "$import os; os.system('x')",
    "$1; 2",
    "$x = 1",
    "$",
    '$\'@a]+__import__("os").system("x")+["\'',
    "$__local_refs",
    "$(((",
    "$" + "(" * 5000,
    "$'\ud800'",
    "$1\0",
    "$" + "1+" * 20_000 + "1",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_expressions_of_honest_bundles_pass(text: str) -> None:
    assert faults(text) == []


@pytest.mark.parametrize("text", HARMFUL, ids=lambda text: text[:40].encode("ascii", "backslashreplace").decode())
def test_expressions_that_reach_further_are_found(text: str) -> None:
    assert faults(text)


def test_reasons_name_what_is_behind_a_name() -> None:
    assert faults("$os.system('x')") == ["touches the machine (os)"]
    assert "it is importlib.import_module, which touches the machine (importlib)" in faults(
        "$monai.utils.module.import_module('os')"
    )
    assert faults("$torch.load(@x)") == ["unpickles whatever is in the file: weights_only=True is missing"]
    assert "cannot be parsed" in faults("$1 +")[0]


@given(
    st.text(alphabet="@#:%$ab_1'\"+.() ", max_size=24),
    st.lists(st.text(alphabet="ab'(", min_size=1, max_size=3), min_size=1, max_size=3),
)
@example("'@a'+'@ab' @::b %::a", ["a", "b"])
@settings(max_examples=200)
def test_references_are_written_into_the_text_as_monai_does(body: str, place: list[str]) -> None:
    """Against MONAI itself: what Python parses is what MONAI would evaluate."""
    from monai.bundle import ConfigParser, ReferenceResolver

    class Everything(dict[str, int]):
        def __contains__(self, key: object) -> bool:
            return True

    text = "$" + body
    try:
        relative = ConfigParser.resolve_relative_ids("::".join(place), text)
    except ValueError:
        with pytest.raises(ValueError, match="above the config"):
            absolute(text, tuple(place))
        return
    assert absolute(text, tuple(place)) == relative
    assert substituted(text, tuple(place)) == ReferenceResolver.update_refs_pattern(relative, Everything())[1:]


@given(st.text(max_size=60))
@settings(max_examples=200)
def test_no_expression_crashes_the_reading(body: str) -> None:
    expressions.read("$" + body, ("a",), NAMES)
    expressions.bound("$" + body)


def test_bare_names_are_those_of_monai() -> None:
    """Against MONAI's own table of the names that a ``_target_`` may have."""
    from monai.bundle import ComponentLocator

    table = ComponentLocator()
    ours = monai_components()
    table.get_component_module_name("Compose")
    theirs = {name: modules for name, modules in (table._components_table or {}).items() if modules[0] != "monai"}
    assert len(theirs) > 1000
    missing = [name for name in theirs if name not in ours]
    assert len(missing) < len(theirs) / 100, missing
    wrong = [name for name in theirs if name in ours and ours[name].rpartition(".")[0] not in theirs[name]]
    assert len(wrong) < len(theirs) / 100, wrong


def test_names_lead_where_python_finds_them() -> None:
    """Against the objects themselves, for every class that the repository's bundles name."""
    from pydoc import locate

    names = {name for folder in (ROOT / "bundles").glob("[!_]*") for name in look(folder).classes}
    assert len(names) > 30
    for name in sorted(names):
        thing = locate(name)
        (meaning,) = meanings(name)
        assert meaning.name == f"{thing.__module__}.{thing.__qualname__}", name
