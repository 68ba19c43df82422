"""What tests of datasets share."""

import pytest

from builders.calo_files import make_geometry


@pytest.fixture
def geo(rng):
    """The cells of a small calorimeter, drawn with the module's own `rng`."""
    return make_geometry(rng)
