"""``python -m training.fit``: fit a beta-VAE to a population, headless and resumable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_brainvae.io.errors import InputError
from training.cli import main
from training.fitting.options import FitOptions

if TYPE_CHECKING:  # torch and all that follows wait until there is something to fit
    from napari_brainvae.data.population import Population


def fit(options: FitOptions) -> None:
    """Run `training.fit` with these options.

    Raises
    ------
    ValueError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.data.population import Population
    from training.fitting.job import run_training, split
    from training.fitting.run_folder import RunFolder

    directory = RunFolder(options.out)
    directory.check(resume=options.resume)
    population = Population.open(options.population)
    train, _ = split(population, options.held_out, options.seed)
    options = options.resolved(len(train))
    record = _record(options, population)
    if options.resume:
        _check_same_run(directory.read_record(), record, options.out)
    run_training(options, population, directory, record)


def _record(options: FitOptions, population: Population) -> dict[str, Any]:
    """Everything that decides the outcome of a run."""
    from importlib.metadata import version

    packages = ("napari-brainvae", "torch", "lightning-fabric", "numpy")
    return {
        "options": options.model_dump(mode="json", exclude={"resume", "out"}),
        "versions": {name: version(name) for name in packages},
        "data": {
            "sections": len(population),
            "shape": list(population.shape),
            "fingerprint": population.fingerprint(),
        },
    }


def _check_same_run(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with other data or other options than the run was begun with."""
    if before["data"] != now["data"]:
        raise InputError(f"the run in {folder} was begun with other data than this population")
    # Runs begun before there were rotations were begun without one.
    began = {"rotation": "none"} | before["options"]
    # The path may change and a run may be looked at more often; what decides the result may not.
    free = {"population", "log_every", "checkpoint_every", "resident_gb", "readers", "capture"}
    changed = [
        f"--{name.replace('_', '-')} {value} (was {began.get(name)})"
        for name, value in now["options"].items()
        if name not in free and began.get(name) != value
    ]
    if changed:
        raise InputError(f"the run in {folder} was begun with other options: {', '.join(changed)}")


if __name__ == "__main__":
    main(FitOptions, fit, program="python -m training.fit")
