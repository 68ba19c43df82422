"""Constants of liquid argon and of the particles, in mm, ns, MeV.

Argon: PDG "Atomic and nuclear properties" and NIST (density at the boiling point, I = 188 eV),
Sternheimer density-effect parameters of Sternheimer, Berger, Seltzer (1984). Masses and
lifetimes: PDG.
"""

from __future__ import annotations

Z_AR = 18.0
A_AR = 39.948
DENSITY = 1.396  # g/cm3
CM2_PER_G_TO_PER_MM = 0.1 * DENSITY  # cm2/g -> 1/mm, and MeV cm2/g -> MeV/mm
X0_MM = 140.0  # radiation length, 19.55 g/cm2
MEAN_EXCITATION = 188.0e-6  # MeV

# Sternheimer: delta = 2 ln10 x - C + a (x1 - x)^k between x0 and x1, x = log10(beta gamma)
STERNHEIMER_A = 0.19559
STERNHEIMER_K = 3.0
STERNHEIMER_X0 = 0.2
STERNHEIMER_X1 = 3.0
STERNHEIMER_C = 5.2146

N_ATOMS_PER_BARN_MM = 0.602214 * DENSITY / A_AR * 0.1  # 1/(b mm)
XI_PER_MM = 0.5 * 0.307075 * Z_AR / A_AR * DENSITY * 0.1  # MeV/mm; Landau's xi = this * s / beta^2
CHI_C2_PER_MM = 0.157 * Z_AR * (Z_AR + 1.0) / A_AR * DENSITY * 0.1  # MeV^2/mm; chi_c^2 (p beta)^2
SCREENING = 2.007e-5 * Z_AR ** (2.0 / 3.0)  # chi_a^2 p^2 / (1 + 3.34 (Z alpha / beta)^2), MeV^2
FINE_STRUCTURE = 1.0 / 137.036
C_LIGHT = 299.792458  # mm/ns

M_E = 0.51099895
M_MU = 105.6583755
M_PI = 139.57039
M_PI0 = 134.9768
M_K = 493.677
M_K0 = 497.611
M_P = 938.27208816
M_N = 939.56542052
M_AR = 37215.5  # nucleus 40Ar

TAU_MU = 2196.98
TAU_MU_MINUS_AR = 568.0  # mean life of a mu- bound in argon (Suzuki 537(32), Klinskikh 617(7))
MU_CAPTURE_FRACTION = 0.74  # 1 - Huff * TAU_MU_MINUS_AR / TAU_MU
TAU_PI = 26.033
TAU_K = 12.38

# Cuts. Below them energy is spread along the parent.
DELTA_CUT = 0.27  # MeV, knock-on electrons (0.5 mm of electron range)
GAMMA_CUT = 0.015  # MeV, bremsstrahlung photons
ROW_CUT = 0.010  # MeV, softer electrons and recoils are not followed on their own
ELECTRON_STOP = 0.2  # MeV, an electron below deposits in one segment (range < 0.4 mm)

STEP_HEAVY = 2.0  # mm, longest step of mu, pi, K, p
STEP_ELECTRON = 2.0  # mm
STEP_OUTSIDE = 20.0  # mm, longest step outside the box

# Rows of the table array built by `tables.build_tables`
N_GRID = 1024
GRID_MIN = 1.0e-3  # MeV
GRID_MAX = 1.0e5  # MeV
NEUTRON_GRID_MIN = 1.0e-9  # MeV

MU, PI, K, P, ELECTRON, POSITRON, PHOTON, NEUTRON = 0, 1, 2, 3, 4, 5, 6, 7
# Columns for charged particles
RANGE, LOSS, DELTA, BREMS, PAIR, INELASTIC, ELASTIC = 0, 1, 2, 3, 4, 5, 6
ANNIHILATION = 4  # positron column in the place of PAIR
# Columns for photons (macroscopic cross-sections, 1/mm)
TOTAL, COMPTON, PHOTO = 0, 1, 2
# Columns for neutrons: TOTAL, then
N_ELASTIC, N_INELASTIC, N_CAPTURE = 1, 2, 3
N_COLUMNS = 7
