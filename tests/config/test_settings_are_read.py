"""No setting without a reader: what can be configured makes a difference somewhere outside the configuration."""

import ast
import dataclasses
from pathlib import Path

import pytest

import resilio
from resilio.config import settings

PACKAGE = Path(resilio.__file__).parent
CONFIG = PACKAGE / "config"
READERS = [path for path in PACKAGE.rglob("*.py") if CONFIG not in path.parents] + [CONFIG / "tls.py"]
"""`config.tls` makes certificates' contexts for the transport; the rest of the folder reads, checks and explains."""

TABLES = [
    its
    for its in vars(settings).values()
    if isinstance(its, type) and its.__module__ == settings.__name__ and dataclasses.is_dataclass(its)
]


def names_read(source):
    """Attributes that are read, and ends of names that are made up for `getattr`."""
    whole, ends = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            whole.add(node.attr)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr":
            lasts = [its.values[-1] for its in node.args if isinstance(its, ast.JoinedStr)]
            ends |= {its.value for its in lasts if isinstance(its, ast.Constant)}
    return whole, ends


FOUND = [names_read(path.read_text(encoding="utf-8")) for path in READERS]
WHOLE = set().union(*(whole for whole, _ in FOUND))
ENDS = tuple(set().union(*(ends for _, ends in FOUND)))


@pytest.mark.parametrize("table", [its for its in TABLES if its is not settings.Setting], ids=lambda its: its.__name__)
def test_every_setting_is_read_outside_the_configuration(table):
    names = [field.name for field in dataclasses.fields(table)]
    assert [name for name in names if name not in WHOLE and not name.endswith(ENDS)] == []
