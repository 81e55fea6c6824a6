"""The fixtures and the class Instance of tests/e2e."""
import importlib.util
import pathlib
import sys

E2E = pathlib.Path(__file__).resolve().parent.parent / "e2e"
sys.path.insert(0, str(E2E))
_spec = importlib.util.spec_from_file_location("e2e_fixtures", E2E / "conftest.py")
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
program, instance, tide = _module.program, _module.instance, _module.tide
pytest_runtest_makereport = _module.pytest_runtest_makereport
