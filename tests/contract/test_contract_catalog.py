"""What holds for every name that exists, whatever its family."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import typing
from pathlib import Path
from typing import Any

import pytest

from edgekit.core import catalog
from edgekit.core.recipe import load_recipe, toml_names
from edgekit.core.target import load_target
from edgekit.core.technique import Trait
from edgekit.core.training import TrainingOptions
from edgekit.engine.passes import load_pass
from edgekit.engine.plans import abilities, plan_for
from edgekit.errors import UsageError

PACKAGE = Path(catalog.__file__).resolve().parent.parent
ENTRIES = [entry for family in catalog.FAMILIES for entry in catalog.built_in(family)]
COMMANDS = catalog.built_in("cli")

REQUIRED = {
    "formats": "SUFFIXES sniff check digest parts describe read_scaling write_scaling",
    "techniques": "Parameters",
    "conversions": "Parameters check apply verify versions",
    "runners": "FORMATS PREDICTS MODULES FRAMEWORKS UNREAL Options open unavailable versions",
    "datasets": "Options load",
    "tasks": "suits check create",
    "zoo": "SETTINGS build",
    "reporters": "SUFFIX render",
    "check_reports": "SUFFIX render",
    "devices": "Options untimed unavailable install connect describe",
}


def ids(entries: list[catalog.Entry]) -> list[str]:
    return [f"{entry.family}/{entry.name}" for entry in entries]


def test_every_family_has_its_contract_and_some_names() -> None:
    assert set(REQUIRED) == set(catalog.FAMILIES)
    assert all(catalog.built_in(family) for family in catalog.FAMILIES)


@pytest.mark.parametrize("entry", [*ENTRIES, *COMMANDS], ids=ids([*ENTRIES, *COMMANDS]))
def test_a_name_explains_itself_in_one_line(entry: catalog.Entry) -> None:
    assert 10 <= len(entry.summary) <= 80, entry.summary


@pytest.mark.parametrize("entry", ENTRIES, ids=ids(ENTRIES))
def test_a_module_has_what_its_family_promises(entry: catalog.Entry) -> None:
    module = catalog.load(entry.family, entry.name)
    missing = [name for name in REQUIRED[entry.family].split() if not hasattr(module, name)]
    assert not missing
    assert module.__all__


@pytest.mark.parametrize("name", catalog.names("techniques"))
def test_a_technique_has_an_implementation_with_every_hook(name: str) -> None:
    parameters = catalog.load("techniques", name).Parameters
    assert dataclasses.is_dataclass(parameters)
    assert parameters.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert hasattr(parameters, "needs")
    for format in sorted(catalog.implementations(name)):
        assert format in catalog.names("formats")
        module = importlib.import_module(f"edgekit.techniques.{name.replace('-', '_')}.{format}")
        for hook in ("check", "apply", "verify", "versions"):
            assert callable(getattr(module, hook))
        made = getattr(module, "PRODUCES", format)
        assert catalog.produces(name, format) == made
        assert made in catalog.names("formats")


def parameters_of(technique: str) -> tuple[Any, ...]:
    """The parameters that shipped recipes give a technique, and its defaults where it has them."""
    cls = catalog.load("techniques", technique).Parameters
    found = [
        step.parameters
        for recipe in toml_names("recipes")
        for step in load_recipe(recipe).steps
        if step.technique == technique
    ]
    with contextlib.suppress(TypeError, ValueError):
        found.append(cls())
    return tuple(found)


@pytest.mark.parametrize("name", catalog.names("techniques"))
def test_a_technique_says_what_it_needs_makes_and_keeps(name: str) -> None:
    traits, options = set(typing.get_args(Trait)), parameters_of(name)
    for parameters in options:
        assert set(parameters.needs) <= {"train", "calibrate", "select"}
        assert all(type(count) is int and count > 0 for count in parameters.needs.values())
        assert set(getattr(parameters, "makes", ())) <= traits
        assert set(getattr(parameters, "keeps", traits)) <= traits
        assert type(getattr(parameters, "keeps_layers", True)) is bool
        assert all(isinstance(path, Path) for path in getattr(parameters, "files", ()))
        if "train" in parameters.needs:
            assert isinstance(parameters, TrainingOptions)
            assert {"train": parameters.batch_size, "select": 1} == dict(parameters.needs)


@pytest.mark.parametrize("recipe", toml_names("recipes"))
def test_the_planner_knows_the_techniques_of_a_recipe(recipe: str) -> None:
    loaded = load_recipe(recipe)
    able = abilities(loaded)
    assert set(able.techniques) == {step.technique for step in loaded.steps}
    known = set(catalog.names("formats"))
    for formats in able.techniques.values():
        assert formats
        assert {*formats, *formats.values()} <= known


@pytest.mark.parametrize("pair", sorted(catalog.conversions()))
def test_a_conversion_joins_two_formats(pair: tuple[str, str]) -> None:
    assert set(pair) <= set(catalog.names("formats"))


@pytest.mark.parametrize("name", catalog.names("runners"))
def test_a_runner_opens_known_formats_and_says_whether_it_works(name: str) -> None:
    runner = catalog.load("runners", name)
    assert set(runner.FORMATS) <= set(catalog.names("formats"))
    assert set(runner.PREDICTS) <= set(runner.FORMATS)
    assert dataclasses.is_dataclass(runner.Options)
    assert isinstance(runner.unavailable(), str)


def test_no_two_runners_predict_one_format() -> None:
    claimed = [
        f for name in catalog.names("runners") for f in catalog.load("runners", name).PREDICTS
    ]
    assert sorted(claimed) == sorted(set(claimed))


@pytest.mark.parametrize("name", toml_names("recipes"))
def test_a_recipe_loads_and_says_what_it_is(name: str) -> None:
    recipe = load_recipe(name)
    assert 10 <= len(recipe.summary) <= 100
    assert recipe.promise.source == f"recipes/{name}.toml"


@pytest.mark.parametrize("name", toml_names("targets"))
def test_a_target_loads_and_says_what_it_is(name: str) -> None:
    target = load_target(name)
    assert 10 <= len(target.summary) <= 100
    assert dataclasses.is_dataclass(target.options)


@pytest.mark.parametrize("target", toml_names("targets"))
@pytest.mark.parametrize("recipe", toml_names("recipes"))
@pytest.mark.parametrize("source", catalog.names("formats"))
def test_every_combination_is_a_plan_or_one_sentence(source: str, recipe: str, target: str) -> None:
    try:
        plan = plan_for(load_recipe(recipe), load_target(target), source)
    except UsageError as error:
        assert error.hint
        return
    formats = [source, *(step.produces for step in plan.steps)]
    assert formats[-1] == plan.target.format
    for step, before in zip(plan.steps, formats, strict=False):
        assert step.accepts == before
        assert load_pass(step).__all__


def _string_constants(path: Path) -> typing.Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@pytest.mark.parametrize("layer", ["core", "engine", "cli"])
def test_no_name_stands_as_a_string_above_the_families(layer: str) -> None:
    names = {*catalog.names("formats"), *catalog.names("techniques")}
    names |= {*toml_names("targets")}
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text!r}"
        for path in sorted((PACKAGE / layer).rglob("*.py"))
        for line, text in _string_constants(path)
        if text in names
    ]
    assert not found


def test_a_plugin_may_not_take_a_built_in_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    point = metadata.EntryPoint("tflite", "other.package", "edgekit.formats")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point])
    monkeypatch.setattr(catalog, "_any_plugin_installed", lambda: True)
    catalog._plugins.cache_clear()
    try:
        with pytest.raises(UsageError, match="which edgekit has already"):
            catalog.entries("formats")
    finally:
        catalog._plugins.cache_clear()


def test_a_plugin_is_listed_without_being_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    point = metadata.EntryPoint("hailo", "not.there", "edgekit.formats")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point])
    monkeypatch.setattr(catalog, "_any_plugin_installed", lambda: True)
    catalog._plugins.cache_clear()
    try:
        assert catalog.entries("formats")[-1].name == "hailo"
        with pytest.raises(ModuleNotFoundError):
            catalog.load("formats", "hailo")
    finally:
        catalog._plugins.cache_clear()


def test_an_installed_plugin_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "hailo_edgekit-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hailo-edgekit\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgekit.formats]\nhailo = hailo.format\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for cached in (catalog._plugins, catalog._any_plugin_installed):
        cached.cache_clear()
    try:
        found = catalog.entries("formats")[-1]
    finally:
        for cached in (catalog._plugins, catalog._any_plugin_installed):
            cached.cache_clear()
    assert (found.name, found.summary) == ("hailo", "plug-in from hailo-edgekit")
