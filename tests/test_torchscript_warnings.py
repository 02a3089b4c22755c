"""TorchScript's deprecation reaches no user, whatever the release of torch and the filter of warnings."""

import subprocess
import sys
import threading
import warnings

import pytest
import torch
from ase.build import bulk
from toy import PairNetwork, export_toy

from ase_mlip import MLIPCalculator, _torchscript, load_model

TEXTS = {  # as torch words them
    "2.13": (DeprecationWarning, "`torch.jit.{}` is deprecated. Please switch to `torch.compile`."),
    "2.14": (FutureWarning, "`torch.jit.{}` is deprecated. Please switch to `torch.export`."),
    "Python 3.14": (
        FutureWarning,
        "`torch.jit.{}` is not supported in Python 3.14+ and may break. Please switch to `torch.export`.",
    ),
}


@pytest.fixture(params=TEXTS)
def announced(request, monkeypatch) -> list[str]:
    """The names of the calls, each of which gives the warning of a release before it does its work."""
    category, text = TEXTS[request.param]
    called = []

    def announce(name):
        original = getattr(torch.jit, name)

        def call(*arguments, **options):
            called.append(name)
            warnings.warn(text.format(name), category, stacklevel=2)
            return original(*arguments, **options)

        monkeypatch.setattr(torch.jit, name, call)

    for name in ("script", "save", "load"):
        announce(name)
    return called


def test_nobody_hears_it(announced, tmp_path):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        export_toy(tmp_path / "model.pt", PairNetwork([14], 4.0), reference_energies={})
        MLIPCalculator(tmp_path / "model.pt", device="cpu").calculate(bulk("Si"))
    assert set(announced) == {"script", "save", "load"}
    assert [str(warning.message) for warning in heard] == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_model(tmp_path / "model.pt", device="cpu")


def test_other_warnings_are_heard(monkeypatch, tmp_path):
    monkeypatch.setattr(
        torch.jit, "load", lambda *_, **__: warnings.warn("`pickle` is deprecated", stacklevel=1)
    )
    with pytest.warns(UserWarning, match="`pickle` is deprecated"):
        _torchscript.load(str(tmp_path / "model.pt"))


def test_threads_leave_the_filters_as_they_were(announced, pair_model_path):
    """The filters belong to the process; contexts that end out of turn would keep one of them."""
    before = list(warnings.filters)
    failures = []

    def load():
        try:
            for _ in range(5):
                _torchscript.load(str(pair_model_path))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and warnings.filters == before


def test_a_process_in_which_all_warnings_are_errors(pair_model_path, tmp_path):
    """With the torch that is installed: export, load and calculate."""
    code = (
        "import sys, warnings\n"
        "with warnings.catch_warnings():\n"
        "    warnings.simplefilter('ignore')  # what torch itself does while it is imported is not ours\n"
        "    import torch\n"
        "from ase.build import bulk\n"
        "from ase_mlip import MLIPCalculator, export_model\n"
        "calculator = MLIPCalculator(sys.argv[1], device='cpu')\n"
        "calculator.calculate(bulk('Si'))\n"
        "model = calculator.model\n"
        "export_model(model.module, sys.argv[2], model.info)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(pair_model_path), str(tmp_path / "again.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "again.pt").is_file()
