"""What a bundle would execute is on the list of reviewed names, or told as unreviewed; nothing of it runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from audited_bundles import bundle, template_inference, template_multi_gpu, template_train
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from medtl.bundles.audit import expressions
from medtl.bundles.audit.bundle import Audit, audit
from medtl.bundles.audit.references import absolute, substituted
from medtl.bundles.audit.reviewed import reviewed
from medtl.cli import app

ROOT = Path(__file__).resolve().parents[2]
LOAD = {"_target_": "LoadImaged", "keys": "image"}

# each is a train.json; a text is one expression of it
HOSTILE: dict[str, Any] = {
    # the two that passed the list of forbidden names
    "timer": "$torch.utils.benchmark.Timer(stmt='1').timeit(1)",
    "pickle_compat": {"imports": ["$import pandas"], "x": "$pandas.compat.pickle_compat.loads(@y)", "y": "bytes"},
    # classes
    "popen": {"net": {"_target_": "subprocess.Popen", "args": ["x"]}},
    "eval_class": {"net": {"_target_": "builtins.eval"}},
    "bare_eval": {"net": {"_target_": "eval"}},
    "os_system": {"net": {"_target_": "os.system", "command": "x"}},
    "empty_part": {"net": {"_target_": "os..system", "command": "x"}},
    "by_way_of_torch": {"net": {"_target_": "torch.os.system"}},
    "torch_load": {"net": {"_target_": "torch.load", "f": "x"}},
    "torch_load_unsafe": {"net": {"_target_": "torch.load", "f": "x", "weights_only": False}},
    "torch_load_computed": {"net": {"_target_": "torch.load", "f": "x", "weights_only": "@no"}, "no": False},
    "run_cmd": {"net": {"_target_": "run_cmd"}},
    "own_class": {"net": {"_target_": "scripts.net.Net"}},
    "module": {"net": {"_target_": "json"}},
    "environ": {"net": {"_target_": "os.environ"}},
    "named_by_reference": {"net": {"_target_": "@text"}, "text": "os.system"},
    "named_by_macro": {"net": {"_target_": "%text"}, "text": "os.system"},
    "named_by_expression": {"net": {"_target_": "$'os.' + 'system'"}},
    "named_by_list": {"net": {"_target_": ["os.system"]}},
    "deep": {"inner": [{"_target_": "Compose", "transforms": [{"_target_": "os.system"}]}]},
    "requires": {"net": {"_target_": "Compose", "_requires_": "$os.system('x')"}},
    "disabled": {"net": {"_target_": "Compose", "_disabled_": "$os.system('x')"}},
    "debugger": {"net": {"_target_": "Compose", "_mode_": "debug"}},
    "debugger_by_key": {"net": {"_target_": "Compose", "_debug_": True}},
    "handed_on_class": {"net": {"_target_": "torch.load", "weights_only": True, "_mode_": "callable"}},
    "download": {"net": {"_target_": "DenseNet121", "spatial_dims": 2, "pretrained": True}},
    # texts that become code: MONAI imports a reader or writer by its dotted name, and calls it
    "reader": {"net": {**LOAD, "reader": "os.system", "command": "x"}},
    "reader_in_list": {"net": {**LOAD, "reader": ["PILReader", "os.system"]}},
    "reader_by_reference": {"net": {**LOAD, "reader": "@text"}, "text": "os.system"},
    "reader_from_afar": {"net": LOAD, "net#reader": "os.system"},
    "reader_in_copy": {"net": LOAD, "copy": "%net", "copy#reader": "os.system"},
    "unpickling_reader": {"net": {**LOAD, "allow_pickle": True}},
    "writer": {"net": {"_target_": "SaveImaged", "keys": "pred", "writer": "scripts.Writer"}},
    "class_from_afar": {"net": {"_target_": "Compose"}, "net#_target_": "os.system"},
    "text_file_anywhere": {"net": {"_target_": "ClassificationSaver", "filename": "../../.bashrc"}},
    # expressions
    "call": "$os.system('x')",
    "import_call": "$__import__('os').system('x')",
    "eval": "$eval('1')",
    "open": "$open('/etc/passwd').read()",
    "getattr": "$getattr(os, 'sys' + 'tem')('x')",
    "getattr_literal": "$getattr(os, 'system')('x')",
    "subscript": "$[eval][0]('1')",
    "handed_to_map": "$list(map(eval, ['1']))",
    "lambda_called": "$(lambda o: o.remove('x'))(os)",
    "lambda_default": "$(lambda f=os.remove: f('x'))()",
    "lambda_argument": "$lambda f: f('x')",
    "walrus": "$[os := 1, os][1]",
    "comprehension": "$[o.remove('x') for o in [os]]",
    "assigning_loop": "$[torch.load for torch.load in [1]]",
    "f_string": "$f\"{__import__('os').system('x')}\"",
    "f_string_method": "$f'{@a}'.format(@b)",
    "format": "$'{0.__globals__}'.format(torch.cat)",
    "dunder": "$().__class__.__base__.__subclasses__()",
    "globals": "$torch.nn.functional.relu.__globals__",
    "method_of_value": "$@path.unlink()",
    "method_of_path": {"x": "$pathlib.Path('x').write_text('y')"},
    "method_of_referred_path": {"root": "$pathlib.Path('.')", "x": "$@root.rename('y')"},
    "method_two_kinds": {"a": {"x": "text"}, "x": "$@a#x.replace('a', 'b')", "a#x": "$pathlib.Path('y')"},
    "attribute_handed_on": "$list(map(@frame.eval, ['1']))",
    "secret": "$os.environ['AWS_SECRET_ACCESS_KEY']",
    "whole_environment": "$dict(os.environ)",
    "hub": "$torch.hub.load('a/b', 'c')",
    "save": "$torch.save(@x, 'y')",
    "load": "$torch.load('x')",
    "load_packed": "$torch.load('x', **@options)",
    "load_by_place": "$torch.load('x', None, None, weights_only=True)",
    "load_handed_on": "$functools.partial(torch.load, weights_only=True)('x', weights_only=False)",
    "setattr": "$setattr(torch, 'load', 1)",
    "module_handed_on": "$dict(x=torch)",
    "import_subprocess": "$import subprocess",
    "import_from": "$from os import system as harmless",
    "import_relative": "$from . import thing",
    "import_own": "$from scripts.trainer import x",
    "renamed_import": {"imports": ["$import os as torch"], "x": "$torch.round(1)"},
    "two_statements": "$import os; os.system('x')",
    "statement": "$x = 1",
    "no_name": "$unheard_of.thing()",
    "in_quotes": '$\'@a]+__import__("os").system("x")+["\'',
    "locals_of_monai": "$__local_refs",
    "unparsable": "$(((",
    "bare_dollar": "$",
    "nested": "$" + "(" * 5000,
    "long": "$" + "1+" * 20_000 + "1",
    "surrogate": "$'\ud800'",
    # copies from files, paths
    "macro_of_file": {"x": "%other.json::id"},
    "macro_outside": {"x": "%../other/file.json::id"},
    "macro_of_nothing": {"x": "%nothing#here"},
    "relative_copy": {"a": {"b": "$@::c + 1", "c": 1}, "x": "%a"},
    "path_outside": {"weights": "../../someone/model.pt"},
    "id_as_code": {"');__import__('os').system('x'": {"a": "$len('%#b')"}},
}

HARMLESS: dict[str, Any] = {
    "device": "$'cuda' if torch.cuda.is_available() else 'cpu'",
    "rank": "$torch.device('cuda:' + os.environ['LOCAL_RANK'])",
    "world": "$int(os.getenv('WORLD_SIZE', 1))",
    "paths": "$os.path.basename(@bundle_root)",
    "missing_file": "$os.path.isfile(@x) or sys.exit('no %s' % @x)",
    "weights": "$torch.load(@weights, map_location='cpu', weights_only=True).items()",
    "benchmark": "$setattr(torch.backends.cudnn, 'benchmark', True)",
    "softmax": "$lambda input: torch.softmax(input['pred'], dim=1)",
    "glob": "$[{'image': i} for i in sorted(glob.glob(@dataset_dir + '/*.png'))]",
    "from_engine": "$monai.handlers.from_engine(['pred', 'label'])",
    "partial": "$functools.partial(torch.nn.functional.relu, inplace=True)",
    "print": "$print('done', len(@data), 'pictures')",
    "slice": "$@train_datalist[: int(0.95 * len(@train_datalist))]",
    "text": "$'a/b.png'.replace('.png', '.nii')",
    "decathlon": "$monai.data.load_decathlon_datalist(@dataset_dir + '/datalist.json', data_list_key='training')",
    "path": "$sorted((pathlib.Path(@dataset_dir) / 'images').rglob('*.png'))",
    "callable": {"act": {"_target_": "torch.nn.functional.relu", "_mode_": "callable"}},
    "named_in_full": {"net": {"_target_": "monai.networks.nets.UNet"}, "lr": {"_target_": "torch.optim.AdamW"}},
    "reader": {"net": {**LOAD, "reader": ["PILReader", "NibabelReader"]}},
    "numbers": {"lr": "$@base * 0.1 if @epochs > 10 else @base / 2", "base": 1e-3, "epochs": 5},
    "elsewhere": {"dataset_dir": "/data/set", "output_dir": "../out", "tracking": "https://example.org/x"},
    "template": template_train(),
    "template_multi_gpu": {**template_train(), **template_multi_gpu()},
    "template_inference": template_inference(),
}


def read(config: Any, folder: Path) -> Audit:
    return audit(bundle(folder / "b", {"x": config} if isinstance(config, str) else config))


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_on_the_list_is_unreviewed(name: str, tmp_path: Path) -> None:
    seen = read(HOSTILE[name], tmp_path)
    assert seen.unreviewed
    assert all(each.place.startswith("train.json: ") and each.why for each in seen.unreviewed)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_users_of_monai_write_is_reviewed(name: str, tmp_path: Path) -> None:
    assert read(HARMLESS[name], tmp_path).unreviewed == []


def test_overlaid_configs_are_read_together(tmp_path: Path) -> None:
    """An import, an argument or a class of one config counts in another."""
    folder = bundle(tmp_path / "b", template_train())
    (folder / "configs" / "multi_gpu_train.json").write_text(json.dumps(template_multi_gpu()))
    assert audit(folder).unreviewed == []
    more = {"train#fixed#0#reader": "scripts.Reader", "network": "$pathlib.Path('x')"}
    (folder / "configs" / "evil.json").write_text(json.dumps(more))
    places = [each.place for each in audit(folder).unreviewed]
    assert "train.json: train#fixed#0#_target_" in places
    assert "train.json: optimizer#params" in places  # the network might be a path, whose methods are its own


def test_an_import_hides_no_builtin_where_its_config_is_not_run(tmp_path: Path) -> None:
    """train.json run alone evaluates with Python's own eval, whatever another file binds to that name."""
    folder = bundle(tmp_path / "b", {"initialize": ["$eval('1')"]})
    (folder / "configs" / "other.json").write_text('{"imports": ["$from monai.utils import set_determinism as eval"]}')
    assert [(each.place, each.what) for each in audit(folder).unreviewed] == [("train.json: initialize#0", "eval")]


@pytest.mark.parametrize("folder", sorted((ROOT / "bundles").glob("[!_]*")), ids=lambda folder: folder.name)
def test_bundles_of_the_repository_are_reviewed(folder: Path) -> None:
    seen = audit(folder)
    assert seen.unreviewed == []
    texts = json.dumps([json.loads(path.read_text()) for path in (folder / "configs").glob("*.json")])
    assert texts.count('"_target_"') == sum(map(len, seen.classes.values()))
    assert texts.count('"$') == sum(
        len(places) for each in (seen.imports, seen.expressions) for places in each.values()
    )


def test_every_reviewed_name_exists_and_bare_ones_are_those_of_monai() -> None:
    """Against the objects themselves, and MONAI's own table of the names that a ``_target_`` may have."""
    from pydoc import locate

    from monai.bundle import ComponentLocator

    known, table = reviewed(), ComponentLocator()
    assert [name for name in known.names if locate(name) is None] == []
    for bare, full in known.bare.items():
        modules = table.get_component_module_name(bare)
        assert modules, bare
        assert locate(f"{modules[0] if isinstance(modules, list) else modules}.{bare}") is locate(full), bare


def test_names_with_rules_are_named_with_them(tmp_path: Path) -> None:
    (finding,) = read("$torch.load(@x)", tmp_path).unreviewed
    assert finding.place == "train.json: x"
    assert "weights_only=True" in finding.why


def test_circles_end(tmp_path: Path) -> None:
    loop = {"a": "@b", "b": "@a", "c": "$@c + @c", "d": "%d", "e": {"_target_": "@e#_target_"}}
    chain = {f"n{number}": f"$@n{number + 1} + @n{number + 1}" for number in range(60)}
    assert read({**loop, **chain, "x": "$@a.run() or @n0.run()"}, tmp_path).unreviewed


@given(
    st.text(alphabet="@#:%$ab_1'\"+.() ", max_size=24),
    st.lists(st.text(alphabet="ab'(", min_size=1, max_size=3), min_size=1, max_size=3),
)
@example("'@a'+'@ab' @::b %::a", ["a", "b"])
@settings(max_examples=100)
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
@settings(max_examples=100)
def test_no_expression_crashes_the_reading(body: str) -> None:
    expressions.read("$" + body, ("a",), {}, reviewed())
    expressions.bound("$" + body)


def test_status_and_json(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(ROOT / "bundles" / "folder"), "--json"])
    assert (done.exit_code, json.loads(done.stdout)["passed"]) == (0, True)
    path = bundle(tmp_path / "b", {"train": {"handlers": [HOSTILE["timer"]]}, "net": {"_target_": "subprocess.Popen"}})
    done = CliRunner().invoke(app, ["check", str(path), "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["passed"]) == (1, False)
    assert {each["place"] for each in told["unreviewed"]} == {
        "train.json: train#handlers#0",
        "train.json: net#_target_",
    }
    done = CliRunner().invoke(app, ["check", str(path)], env={"COLUMNS": "400"})
    assert done.exit_code == 1
    assert "UNREVIEWED" in done.output
    assert "train.json: train#handlers#0" in done.output
    assert "3 unreviewed" in done.output.splitlines()[-1]


def test_every_reader_of_monai_is_ruled(tmp_path: Path) -> None:
    """A reviewed name with an argument that MONAI imports by its name, unpickles or downloads has a rule for it."""
    import inspect
    from pydoc import locate

    ruled = {
        "reader",
        "writer",
        "merger_cls",
        "pickle_module",
        "pretrained",
        "weights_only",
        "allow_pickle",
        "filename",
    }
    for name, found in reviewed().names.items():
        if not name.startswith("monai."):
            continue
        try:
            parameters = set(inspect.signature(locate(name)).parameters)
        except (TypeError, ValueError):
            continue
        assert ruled & parameters <= set(found.rules), name
