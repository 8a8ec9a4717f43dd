import sys
from pathlib import Path

import pytest

from openbatchai.domain.ports import Container
from openbatchai.engines.images import ImageCatalogue, ImageUnavailableError, full_name, translated

WITH_CNTK = ImageCatalogue({}, has_cntk=lambda: True)


@pytest.mark.parametrize(
    "image",
    [
        "microsoft/cntk:2.1-gpu-python3.5-cuda8.0-cudnn6.0",
        "microsoft/cntk",
        "docker.io/microsoft/cntk:2.5.1-cpu-python3.5",
        "mcr.microsoft.com/cntk/release:2.7-gpu-python3.6",
    ],
)
def test_retired_cntk_images_stand_for_the_own_interpreter(image):
    assert WITH_CNTK.interpreter_for(Container(image)) == Path(sys.executable)


def test_the_registry_counts_when_it_is_given_apart():
    assert WITH_CNTK.interpreter_for(Container("cntk/release:2.7", "https://mcr.microsoft.com")) is not None
    assert WITH_CNTK.interpreter_for(Container("microsoft/cntk:2.1", "index.docker.io")) is not None


@pytest.mark.parametrize("image", ["tensorflow/tensorflow:1.8.0-gpu", "me/cntk:1", "microsoft/cntk-extra:1"])
def test_other_images_map_to_nothing(image):
    assert WITH_CNTK.interpreter_for(Container(image)) is None


def test_configured_patterns_come_first():
    catalogue = ImageCatalogue({"microsoft/cntk:2.1*": "/opt/own/bin/python"}, has_cntk=lambda: False)

    assert catalogue.interpreter_for(Container("microsoft/cntk:2.1-cpu")) == Path("/opt/own/bin/python")


def test_without_cntk_the_user_is_told_how_to_install_it():
    catalogue = ImageCatalogue({}, has_cntk=lambda: False)

    with pytest.raises(ImageUnavailableError, match=r'pip install "openbatchai\[cntk\]"'):
        catalogue.interpreter_for(Container("microsoft/cntk:2.1"))


def test_full_name_has_the_registry_unless_it_is_docker_hub():
    assert full_name(Container("a/b:1", "https://r.example.com/")) == "r.example.com/a/b:1"
    assert full_name(Container("a/b:1", "https://index.docker.io")) == "a/b:1"
    assert full_name(Container("a/b:1")) == "a/b:1"


@pytest.mark.parametrize(
    ("written", "run"),
    [
        ("/root/anaconda3/envs/cntk-py35/bin/python x.py", "python x.py"),
        ("'/root/anaconda3/envs/cntk-py36/bin/python3.6' x.py", "'python3.6' x.py"),
        ("/root/anaconda3/bin/pip install x", "pip install x"),
        ("source /cntk/activate-cntk && cntk", "source /dev/null && cntk"),
        ("ls /root/anaconda3/envs/cntk-py35/lib", "ls /root/anaconda3/envs/cntk-py35/lib"),
        (
            "/usr/bin/python /root/anaconda3/envs/a/bin/python-config",
            "/usr/bin/python /root/anaconda3/envs/a/bin/python-config",
        ),
    ],
)
def test_programs_of_retired_images_are_looked_up_on_path(written, run):
    assert translated(written) == run
