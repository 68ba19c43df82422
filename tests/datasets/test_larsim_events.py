"""Event generation, voxelisation, Supera's labels, files and production of the liquid-argon simulation."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.datasets.larsim.images import Image, ImageSettings, make_image
from benchmark.datasets.larsim.labels import ATOMIC, Shape
from benchmark.datasets.larsim.truth import DEPOSIT_DTYPE, HALF_BOX_MM, PARTICLE_DTYPE, EventTruth, Process
from benchmark.datasets.larsim.voxels import key_to_voxel, voxelise

MASS = {11: 0.511, 13: 105.66, 22: 0.0, 111: 134.98, 211: 139.57, 2112: 939.57, 2212: 938.27}


class Tree:
    """A hand-made event: particles whose deposits are rows of voxels along x, placed by hand."""

    def __init__(self) -> None:
        self.particles: list[tuple] = []
        self.deposits: list[tuple] = []

    def add(self, pdg, process, parent=-1, voxels=(), mev=0.5, vertex=0, start=None, momentum=100.0, time=0.0):
        """One particle; `voxels` are (x, y, z) indices that get `mev` each. Returns its row."""
        row = len(self.particles)
        where = start if start is not None else (10.0 * vertex, 0.0, 0.0)
        mass = MASS.get(abs(pdg), 3.7e4)
        self.particles.append((pdg, parent, int(process), vertex, *where, time, momentum, 0.0, 0.0, mass))
        for voxel in voxels:
            x, y, z = (np.array(voxel) + 0.5) * 3.0 - HALF_BOX_MM
            self.deposits.append((row, x - 1, y, z, x + 1, y, z, mev, time))
        return row

    def truth(self) -> EventTruth:
        return EventTruth(np.array(self.particles, PARTICLE_DTYPE), np.array(self.deposits, DEPOSIT_DTYPE))

    def image(self) -> Image:
        """By the rules of PILArNet-M."""
        return make_image(self.truth())

    def atomic_image(self) -> Image:
        """By the rules of SuperaAtomic."""
        return make_image(self.truth(), ImageSettings(labels=ATOMIC))


def line(start, n):
    """n voxels in a row along x."""
    return [(start[0] + i, start[1], start[2]) for i in range(n)]


def rows(image: Image) -> list[tuple[int, ...]]:
    return [tuple(int(v) for v in row) for row in image.cluster]


def shapes(image: Image) -> dict[int, tuple[int, int]]:
    """Semantic type -> (clusters, points) of an image, low-energy row included."""
    of = [image.cluster[image.cluster[:, 4] == s, 0] for s in range(5)]
    return {s: (len(sizes), int(sizes.sum())) for s, sizes in enumerate(of)}


# ---- voxels


def test_a_deposit_is_spread_over_the_voxels_it_crosses():
    tree = Tree()
    tree.add(13, Process.PRIMARY)
    tree.deposits = [(0, -1152.0, 1.0, 1.0, -1152.0 + 30.0, 1.0, 1.0, 6.0, 3.0)]
    voxels = voxelise(tree.truth())
    assert key_to_voxel(voxels.key).tolist() == [[i, 384, 384] for i in range(10)]
    np.testing.assert_allclose(voxels.energy, 0.6, rtol=1e-5)
    np.testing.assert_allclose(voxels.length, 0.3, rtol=1e-5)
    # Modified box at 2 MeV/cm and 0.5 kV/cm, by hand: x = 0.6074, R = ln(1.5374) / x = 0.7081.
    np.testing.assert_allclose(voxels.electrons, 0.6e6 / 23.6 * 0.7081, rtol=1e-3)


def test_voxels_of_one_particle_below_the_threshold_are_dropped():
    tree = Tree()
    tree.add(13, Process.PRIMARY, voxels=[(5, 5, 5)], mev=0.0099)
    tree.add(13, Process.PRIMARY, voxels=[(5, 5, 5)], mev=0.0101)
    assert voxelise(tree.truth()).particle.tolist() == [1]


def test_deposits_outside_the_box_leave_no_voxel():
    tree = Tree()
    tree.add(13, Process.PRIMARY, voxels=[(-1, 4, 4), (0, 4, 4), (767, 4, 4), (768, 4, 4)])
    assert key_to_voxel(voxelise(tree.truth()).key)[:, 0].tolist() == [0, 767]


def test_energy_is_conserved_over_voxels():
    rng = np.random.default_rng(3)
    tree = Tree()
    tree.add(13, Process.PRIMARY)
    for _ in range(200):
        a, b = rng.uniform(-1100, 1100, 3), rng.normal(0, 4, 3)
        tree.deposits.append((0, *a, *(a + b), 5.0, 0.0))
    assert voxelise(tree.truth()).energy.sum() == pytest.approx(1000.0, rel=1e-3)


# ---- rules of SuperaAtomic


def test_primaries_are_showers_or_tracks():
    tree = Tree()
    tree.add(11, Process.PRIMARY, voxels=line((10, 10, 10), 4))
    tree.add(-13, Process.PRIMARY, voxels=line((10, 20, 10), 5))
    tree.add(2212, Process.PRIMARY, voxels=line((10, 30, 10), 2))
    assert rows(tree.atomic_image())[1:] == [(4, 0, 0, 0, 0, 1), (5, 1, 1, 0, 1, 2), (2, 2, 2, 0, 1, 4)]


def test_pair_electrons_join_their_photon():
    tree = Tree()
    photon = tree.add(22, Process.PRIMARY)
    tree.add(11, Process.CONVERSION, photon, voxels=line((10, 10, 10), 4))
    tree.add(-11, Process.CONVERSION, photon, voxels=line((10, 40, 10), 30))
    assert rows(tree.atomic_image())[1:] == [(34, 0, 0, 0, 0, 0)]


def test_a_pair_by_a_muon_joins_the_muon():
    tree = Tree()
    muon = tree.add(13, Process.PRIMARY, voxels=line((10, 10, 10), 20))
    tree.add(11, Process.PAIR_BY_CHARGED, muon, voxels=line((20, 11, 10), 15))
    assert rows(tree.atomic_image())[1:] == [(35, 0, 0, 0, 1, 2)]


def test_isolated_compton_electrons_are_low_energy_up_to_ten_voxels():
    for n, shape in ((10, Shape.SHOWER), (11, Shape.SHOWER), (9, Shape.LE_SCATTER)):
        tree = Tree()
        photon = tree.add(22, Process.PRIMARY)
        tree.add(11, Process.COMPTON, photon, voxels=line((10, 10, 10), n))
        # Exactly 10 voxels: at first a low-energy scatter (rule 4: more than 10), then promoted (rule 5: 10 or more).
        assert shapes(tree.atomic_image())[shape][1] == n


def test_photoelectrons_and_ionisation_are_low_energy_unless_they_touch():
    for process in (Process.PHOTOELECTRIC, Process.IONISATION_ELECTRON):
        tree = Tree()
        electron = tree.add(11, Process.PRIMARY, voxels=line((10, 10, 10), 30))
        tree.add(11, process, electron, voxels=[(20, 12, 10)])  # two away: isolated
        tree.add(11, process, electron, voxels=[(40, 11, 11)])  # diagonal neighbour of the last voxel
        assert rows(tree.atomic_image()) == [(1, -1, -1, -1, 4, -1), (31, 0, 0, 0, 0, 1)]


def test_a_low_energy_scatter_that_touches_several_joins_shower_before_track():
    tree = Tree()
    tree.add(13, Process.PRIMARY, voxels=line((10, 10, 10), 10), vertex=0)
    electron = tree.add(11, Process.PRIMARY, voxels=line((10, 12, 10), 10), vertex=1)
    tree.add(11, Process.IONISATION_ELECTRON, electron, voxels=[(15, 11, 10)])
    assert [(r[0], r[4]) for r in rows(tree.atomic_image())] == [(0, 4), (10, 1), (11, 0)]


def test_low_energy_scatters_relay_a_touch():
    tree = Tree()
    electron = tree.add(11, Process.PRIMARY, voxels=line((10, 10, 10), 10))
    tree.add(11, Process.PHOTOELECTRIC, electron, voxels=[(15, 12, 10)])
    tree.add(11, Process.PHOTOELECTRIC, electron, voxels=[(15, 11, 10)])
    assert rows(tree.atomic_image()) == [(0, -1, -1, -1, 4, -1), (12, 0, 0, 0, 0, 1)]


def test_neutron_recoils_stay_low_energy_even_when_they_touch():
    tree = Tree()
    tree.add(2212, Process.PRIMARY, voxels=line((10, 10, 10), 10))
    neutron = tree.add(2112, Process.HADRON_INELASTIC, 0)
    tree.add(1000180400, Process.NEUTRON_ELASTIC, neutron, voxels=[(15, 11, 10)])
    tree.add(2212, Process.NEUTRON_INELASTIC, neutron, voxels=line((50, 50, 50), 3))
    assert [(r[0], r[4]) for r in rows(tree.atomic_image())] == [(1, 4), (10, 1), (3, 1)]


def test_delta_rays_need_three_voxels_clear_of_the_track():
    def event(n_clear):
        tree = Tree()
        muon = tree.add(13, Process.PRIMARY, voxels=line((10, 10, 10), 20))
        own = [(15, 11 + i, 10) for i in range(n_clear)]
        tree.add(11, Process.DELTA_RAY, muon, voxels=[(13, 10, 10), (14, 10, 10), (15, 10, 10), *own])
        return shapes(tree.atomic_image())

    assert event(2)[Shape.DELTA] == (0, 0) and event(2)[Shape.TRACK] == (1, 22)
    assert event(3)[Shape.DELTA] == (1, 3) and event(3)[Shape.TRACK] == (1, 20)  # shared voxels go to the track


def test_small_isolated_delta_rays_are_low_energy():
    tree = Tree()
    muon = tree.add(13, Process.PRIMARY, voxels=line((10, 10, 10), 20))
    tree.add(11, Process.DELTA_RAY, muon, voxels=line((15, 30, 10), 2))
    assert rows(tree.atomic_image())[0][0] == 2


def test_a_delta_ray_has_a_group_of_its_own_with_the_electrons_pid():
    tree = Tree()
    muon = tree.add(13, Process.PRIMARY, voxels=line((10, 10, 10), 20))
    tree.add(11, Process.DELTA_RAY, muon, voxels=[(15, 11 + i, 10) for i in range(8)])
    assert rows(tree.atomic_image())[2] == (8, 1, 1, 0, 3, 1)


def test_decay_electrons_of_muons_are_michels_and_own_their_photons():
    """As in PILArNet-M-mini's first test event: a Michel and its photon share group and PID, not the semantic type."""
    tree = Tree()
    muon = tree.add(13, Process.PRIMARY, voxels=line((10, 10, 10), 20))
    michel = tree.add(11, Process.DECAY, muon, voxels=line((30, 10, 10), 18))
    photon = tree.add(22, Process.BREMS, michel)
    tree.add(11, Process.COMPTON, photon, voxels=line((60, 10, 10), 12))
    for image in (tree.atomic_image(), tree.image()):
        assert [(r[0], r[1] == r[2], r[4], r[5]) for r in rows(image)] == [
            (0, True, 4, -1), (20, True, 1, 2), (18, True, 2, 1), (12, False, 0, 1)
        ]  # fmt: skip
        assert image.cluster[3, 2] == image.cluster[2, 2]


def test_touching_fragments_of_one_shower_merge_into_the_larger():
    tree = Tree()
    electron = tree.add(11, Process.PRIMARY, voxels=line((10, 10, 10), 12))
    photon = tree.add(22, Process.BREMS, electron)
    tree.add(11, Process.CONVERSION, photon, voxels=line((22, 10, 10), 40))
    far = tree.add(22, Process.BREMS, electron)
    tree.add(11, Process.CONVERSION, far, voxels=line((200, 10, 10), 15))
    assert [(r[0], r[2], r[4], r[5]) for r in rows(tree.atomic_image())[1:]] == [(52, 0, 0, 1), (15, 0, 0, 1)]


def test_touching_showers_of_different_families_stay_apart():
    tree = Tree()
    tree.add(11, Process.PRIMARY, voxels=line((10, 10, 10), 12))
    tree.add(11, Process.PRIMARY, voxels=line((10, 11, 10), 13))
    assert [r[0] for r in rows(tree.atomic_image())] == [0, 12, 13]


def test_photons_below_ten_voxels_are_low_energy_and_larger_ones_a_fragment():
    tree = Tree()
    electron = tree.add(11, Process.PRIMARY, voxels=line((10, 10, 10), 12))
    for y, n in ((100, 9), (200, 10)):
        photon = tree.add(22, Process.BREMS, electron)
        tree.add(11, Process.CONVERSION, photon, voxels=line((10, y, 10), n))
    image = tree.atomic_image()
    assert [(r[0], r[2], r[4]) for r in rows(image)] == [(9, -1, 4), (12, 0, 0), (10, 0, 0)]


def test_a_group_stops_at_a_track():
    tree = Tree()
    pion = tree.add(211, Process.PRIMARY, voxels=line((10, 10, 10), 12))
    pi0 = tree.add(111, Process.HADRON_INELASTIC, pion)
    for y in (100, 200):
        photon = tree.add(22, Process.PI0_DECAY, pi0)
        tree.add(11, Process.CONVERSION, photon, voxels=line((10, y, 10), 20))
    assert [(r[1], r[2], r[5]) for r in rows(tree.atomic_image())[1:]] == [(0, 0, 3), (2, 2, 0), (3, 3, 0)]


def test_fragment_ids_leave_gaps_for_particles_without_voxels():
    tree = Tree()
    tree.add(111, Process.PRIMARY)
    tree.add(2112, Process.HADRON_INELASTIC, 0)  # low energy: numbered after everything else
    photon = tree.add(22, Process.PI0_DECAY, 0)
    tree.add(11, Process.CONVERSION, photon, voxels=line((10, 20, 10), 20))
    tree.add(13, Process.PRIMARY, voxels=line((10, 10, 10), 5))
    assert [r[1] for r in rows(tree.atomic_image())[1:]] == [1, 2]


# ---- rules of LArSoft's Supera, where they differ


def test_every_cluster_below_ten_voxels_is_low_energy():
    tree = Tree()
    tree.add(2212, Process.PRIMARY, voxels=line((10, 30, 10), 9))
    tree.add(2212, Process.PRIMARY, voxels=line((10, 60, 10), 10))
    tree.add(11, Process.PRIMARY, voxels=line((10, 90, 10), 9))
    assert rows(tree.image()) == [(18, -1, -1, -1, 4, -1), (10, 1, 1, 0, 1, 4)]


def test_ionisation_electrons_belong_to_the_electron_wherever_they_are():
    tree = Tree()
    electron = tree.add(11, Process.PRIMARY, voxels=line((10, 10, 10), 12))
    first = tree.add(11, Process.IONISATION_ELECTRON, electron, voxels=[(50, 50, 50)])
    tree.add(11, Process.IONISATION_ELECTRON, first, voxels=[(60, 50, 50)], mev=0.006)
    tree.add(11, Process.IONISATION_ELECTRON, electron, voxels=[(60, 50, 50)], mev=0.006)
    assert rows(tree.image())[1:] == [(14, 0, 0, 0, 0, 1)]  # 6 + 6 keV of one label pass the threshold of 10 keV


def test_low_energy_electrons_join_ancestors_that_they_touch_and_nothing_else():
    tree = Tree()
    tree.add(13, Process.PRIMARY, voxels=line((10, 12, 10), 20), vertex=0)
    electron = tree.add(11, Process.PRIMARY, voxels=line((10, 10, 10), 20), vertex=1)
    photon = tree.add(22, Process.BREMS, electron)
    tree.add(11, Process.COMPTON, photon, voxels=[(15, 11, 10)])  # touches both
    far = tree.add(22, Process.BREMS, electron)
    tree.add(11, Process.PHOTOELECTRIC, far, voxels=[(15, 13, 10)])  # touches the muon only
    assert [(r[0], r[4]) for r in rows(tree.image())] == [(1, 4), (20, 1), (21, 0)]


def test_delta_rays_need_ten_voxels_clear_of_the_track():
    for n_clear, expected in ((9, [(29, 1)]), (10, [(20, 1), (10, 3)])):
        tree = Tree()
        muon = tree.add(13, Process.PRIMARY, voxels=line((10, 10, 10), 20))
        own = [(15, 11 + i, 10) for i in range(n_clear)]
        tree.add(11, Process.DELTA_RAY, muon, voxels=[(14, 10, 10), (15, 10, 10), *own])
        assert [(r[0], r[4]) for r in rows(tree.image())[1:]] == expected


def test_a_pair_by_a_muon_counts_as_a_delta_ray():
    tree = Tree()
    muon = tree.add(13, Process.PRIMARY, voxels=line((10, 10, 10), 20))
    tree.add(11, Process.PAIR_BY_CHARGED, muon, voxels=[(15, 11 + i, 10) for i in range(15)])
    assert [(r[0], r[4], r[5]) for r in rows(tree.image())[1:]] == [(20, 1, 2), (15, 3, 1)]


def test_nuclei_leave_nothing():
    tree = Tree()
    pion = tree.add(211, Process.PRIMARY, voxels=line((10, 10, 10), 20))
    tree.add(1000020040, Process.HADRON_INELASTIC, pion, voxels=[(60, 60, 60)], mev=5.0)
    assert rows(tree.image()) == [(0, -1, -1, -1, 4, -1), (20, 0, 0, 0, 1, 3)]


def test_low_energy_scatters_are_kept_with_a_stored_parent_or_grandparent_only():
    tree = Tree()
    pion = tree.add(211, Process.PRIMARY, voxels=line((10, 10, 10), 20))
    photon = tree.add(22, Process.HADRON_INELASTIC, pion)
    tree.add(11, Process.COMPTON, photon, voxels=[(60, 60, 60)])
    neutron = tree.add(2112, Process.HADRON_INELASTIC, pion)
    capture = tree.add(22, Process.NEUTRON_CAPTURE, neutron)
    tree.add(11, Process.COMPTON, capture, voxels=[(90, 60, 60)])
    image = tree.image()
    assert image.cluster[0, 0] == 1 and image.point[0, :3].tolist() == [60, 60, 60]


def test_showers_of_a_neutral_pion_are_groups_of_their_own():
    tree = Tree()
    tree.add(111, Process.PRIMARY)
    for y in (100, 200):
        photon = tree.add(22, Process.PI0_DECAY, 0)
        electron = tree.add(11, Process.CONVERSION, photon, voxels=line((10, y, 10), 20))
        brems = tree.add(22, Process.BREMS, electron)
        tree.add(11, Process.CONVERSION, brems, voxels=line((50, y, 10), 12))
    assert [(r[0], r[2], r[5]) for r in rows(tree.image())[1:]] == [(20, 0, 0), (12, 0, 0), (20, 2, 0), (12, 2, 0)]


# ---- stored tables


def test_interactions_are_numbered_by_vertex_x():
    tree = Tree()
    for vertex, x in enumerate((50.0, -70.0, 20.0)):
        tree.add(13, Process.PRIMARY, voxels=line((10, 10 * vertex + 5, 10), 15), vertex=vertex, start=(x, 1.0, 2.0))
    image = tree.image()
    assert [r[3] for r in rows(image)[1:]] == [2, 0, 1]
    np.testing.assert_allclose(image.cluster_extra[:, 2], [-1, 50, -70, 20])


def test_shared_voxels_take_the_highest_priority_and_the_summed_energy():
    tree = Tree()
    muon = tree.add(13, Process.PRIMARY, voxels=[(5, 10, 10), *line((10, 10, 10), 20)])
    tree.add(11, Process.DECAY, muon, voxels=[(5, 10, 10), (5, 30, 10), *line((10, 30, 10), 20)])
    tree.add(11, Process.PRIMARY, voxels=[(5, 30, 10), (5, 50, 10), *line((10, 50, 10), 20)])
    tree.add(11, Process.DELTA_RAY, muon, voxels=[(5, 50, 10), *line((10, 70, 10), 20)])
    image = tree.image()
    semantic = np.repeat(image.cluster[:, 4], image.cluster[:, 0])
    shared = np.flatnonzero(image.point[:, 0] == 5)
    assert {int(image.point[i, 1]): semantic[i] for i in shared} == {
        10: Shape.TRACK,
        30: Shape.MICHEL,
        50: Shape.SHOWER,
    }
    np.testing.assert_allclose(image.point[shared, 3:5], 1.0, rtol=1e-5)
    assert len(np.unique(image.point[:, :3], axis=0)) == len(image.point)


def test_an_event_without_deposits_is_one_empty_low_energy_row():
    tree = Tree()
    tree.add(22, Process.PRIMARY)
    image = tree.image()
    assert image.point.shape == (0, 8) and rows(image) == [(0, -1, -1, -1, 4, -1)]
    assert image.cluster_extra.tolist() == [[-1.0] * 5]


def test_masses_are_those_of_pilarnet_m_and_momenta_in_gev():
    tree = Tree()
    for i, pdg in enumerate((11, -13, 2212)):
        tree.add(pdg, Process.PRIMARY, voxels=line((10, 10 + 5 * i, 10), 15), momentum=905.0)
    extra = tree.image().cluster_extra[1:]
    np.testing.assert_array_equal(extra[:, 0], np.float32([0.51199800, 105.65799713, 938.27197266]))
    np.testing.assert_allclose(extra[:, 1], 0.905, rtol=1e-6)
