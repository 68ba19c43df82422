"""Under `behaviour="reference"`, both models equal the published implementation on stored inputs and outputs.

The golden files hold no weights: they follow from a formula of a tensor's released name and place.
"""

import csv

import numpy as np
import pytest
import torch

from benchmark.contracts import Inputs, PointBatch
from benchmark.datasets._pilarnet import FRAME
from benchmark.models import pointmae, polarmae
from benchmark.models._masking import Masked, chamfer_per_group
from benchmark.models._reference import (
    BatchScalarNorm,
    PlainBatchNorm,
    scalar_normalised,
)
from benchmark.models._released import from_released, released_name, to_released
from benchmark.settings import override
from benchmark.tasks import LARTPC_SEGMENTATION

INPUTS = Inputs(("log_energy",), FRAME)
MODELS = {"polarmae": polarmae.SPEC, "pointmae": pointmae.SPEC}
# No dropout: what the golden files were made with. The published rates are those of the preset.
STILL = {"attention_dropout": 0.0, "drop_path": 0.0, "head_dropout": 0.0}
REDUCED = {
    "width": 96, "depth": 3, "decoder_depth": 2, "heads": 3, "fetch_layers": (0, 1, 2), "head_widths": (128, 64),
    "overlap": 0.73, **STILL,
}  # fmt: skip
SEEDS = {"polarmae": (101, 111), "pointmae": (102, 121), "segsem": (103, 131)}  # reduced, full


def build(name, changes):
    spec = MODELS[name]
    config = override(spec.config(), {**spec.presets["reference"].model, **changes}, "model")
    torch.manual_seed(0)
    return spec.build(config, INPUTS, LARTPC_SEGMENTATION)


def uniform(n, tag):
    """n numbers in [-1, 1): a hash of their index and the tag (MurmurHash3's finaliser)."""
    h = np.arange(n, dtype=np.uint64) + (tag * 0x9E3779B9) % 2**32
    h %= 2**32
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        h = ((h ^ (h >> np.uint64(shift))) * np.uint64(factor)) % 2**32
    return h.astype(np.float64) / 2**31 - 1


def formula(key, shape, tag):
    n = int(np.prod(shape))
    u = uniform(n, tag)
    if key == "mask_token":
        value = 0.02 * u
    elif key.endswith(("running_mean", "bias", "beta")):
        value = 0.1 * u
    elif key.endswith("running_var"):
        value = 1 + 0.2 * u
    elif key.endswith("gamma") or (key.endswith("weight") and len(shape) == 1):
        value = 1 + 0.1 * u
    else:
        value = np.sqrt(3 * shape[0] / n) * u
    return torch.from_numpy(value.astype(np.float32).reshape(shape))


def with_formula_weights(net, kind, order, seed):
    """Load the released state dict of the formula, in the order of names in the manifest."""
    stage = "segmentation" if kind == "segsem" else "pretrain"
    own = to_released(net.state_dict(), stage)
    keys = [key for key in order if key in own]
    assert set(keys) == set(own)
    state = {k: formula(k, tuple(own[k].shape), seed * 1000 + i) for i, k in enumerate(keys)}
    ours = from_released(state, net.state_dict(), stage)
    net.load_state_dict({**net.state_dict(), **ours})
    return state


@pytest.fixture(scope="module")
def folder(shared_dir):
    path = shared_dir / "reference" / "polarmae"
    if not (path / "golden" / "public_batch.npz").is_file():
        pytest.skip(f"no golden models under {path}")
    return path


@pytest.fixture(scope="module")
def golden(folder):
    return lambda name: np.load(folder / "golden" / f"{name}.npz")


@pytest.fixture(scope="module")
def manifest(folder):
    def keys(kind):
        name = "manifest_segsem_polarmae.tsv" if kind == "segsem" else f"manifest_{kind}.tsv"
        with open(folder / name) as stream:
            return {r["key"]: tuple(map(int, r["shape"].split("x"))) for r in csv.DictReader(stream, delimiter="\t")}

    return keys


@pytest.fixture(scope="module")
def batch(golden):
    stored = golden("public_batch")
    valid = np.arange(stored["points"].shape[1]) < stored["lengths"][:, None]
    points = stored["points"][valid]
    return PointBatch(
        coords=points[:, :3].copy(),
        energy=np.ones(len(points), np.float32),
        feats=points[:, 3:].copy(),
        offsets=np.concatenate([[0], np.cumsum(stored["lengths"])]),
        event_ids=("0", "1", "2"),
        columns=("log_energy",),
        frame=FRAME,
        target=stored["semantic_id"][valid][:, 0],
    ).to_torch()


def close(found, expected, tolerance, relative=None):
    np.testing.assert_allclose(
        np.asarray(found.detach()), expected, atol=tolerance, rtol=tolerance if relative is None else relative
    )


def hidden_of(stored):
    """(T,) bool over the valid tokens, from masks over padded slots."""
    valid = stored["masked"] | stored["unmasked"]
    assert np.array_equal(stored["masked"] & stored["unmasked"], np.zeros_like(valid))
    return torch.from_numpy(stored["masked"][valid])


def test_normalised_coordinates_are_the_stored_ones_to_the_bit(batch, golden):
    stored = golden("public_batch")
    valid = np.arange(stored["points"].shape[1]) < stored["lengths"][:, None]
    assert np.array_equal(batch.normalised_coords.numpy(), stored["points_norm"][valid][:, :3])
    assert np.array_equal(batch.feats.numpy(), stored["points_norm"][valid][:, 3:])


def test_the_formula_gives_the_stored_check_values():
    check = formula("mask_token", (384,), 111 * 1000)[:3].tolist()
    assert np.allclose(check, [0.01109654, -0.00507077, 0.01511964], atol=5e-9)


@pytest.mark.parametrize("overlap", [0.73, 0.72])
def test_tokens_and_their_members_are_the_stored_ones(batch, golden, overlap):
    stored, name = golden("public_grouping"), f"f{round(100 * overlap)}"
    tokens = build("polarmae", {**REDUCED, "overlap": overlap}).tokens(batch)
    mask = stored[f"{name}_embedding_mask"]
    assert tokens.lengths == tuple(stored[f"{name}_n_groups"])
    filled = stored[f"{name}_point_mask"][mask]
    members, found = tokens.padded_members()
    assert np.array_equal(found.numpy(), filled)
    offsets = batch.offsets[:-1][tokens.event]
    assert np.array_equal((tokens.centre - offsets).numpy(), stored[f"{name}_center_idx"][mask])
    reduced = stored[f"{name}_reduced_idx"][mask][filled]
    assert np.array_equal((tokens.point - offsets[tokens.token]).numpy(), reduced)
    assert np.array_equal(tokens.centres.numpy(), stored[f"{name}_centers"][mask])
    close(members[found], stored[f"{name}_groups"][mask][filled], 1e-6)


@pytest.mark.parametrize(("name", "size"), [("polarmae", 0), ("pointmae", 0), ("polarmae", 1), ("pointmae", 1)])
def test_pretraining_equals_the_reference(batch, golden, manifest, name, size):
    stored = golden(f"public_{'full' if size else 'reduced_pretrain'}_{name}")
    net = build(name, STILL if size else REDUCED).eval()
    with_formula_weights(net, name, list(manifest(name)), SEEDS[name][size])
    tolerance, hidden = (5e-4 if size else 1e-4), hidden_of(stored)
    with torch.no_grad():
        tokens = net.tokens(batch)
        if "tokens_valid" in stored:
            embedded, _ = net.embed(tokens.inputs, tokens.token, tokens.slot, tokens.sizes)
            close(embedded, stored["tokens_valid"], 1e-5)
            layers, _ = net.encode(tokens)
            close(layers[-1], stored["last_hidden_valid"], tolerance)
            close(layers[3][:64], stored["hidden3_valid_first64"], tolerance)
            close(layers[7][:64], stored["hidden7_valid_first64"], tolerance)
            close(net.fetched(layers), stored["combine_3_7_11_valid"], tolerance)
        masked = Masked.of(tokens, hidden)
        visible = net.encode_visible(masked)
        close(visible, stored["encoder_visible"], tolerance)
        decoded, target = net.decode(visible, masked), masked.target
        close(decoded, stored["decoder_masked"], tolerance)
        predicted = net.decoder.reconstruct(decoded)
        close(predicted, stored["recon_points"], tolerance)
        assert np.array_equal(target.sizes.numpy(), stored["masked_group_lengths"])
        close(chamfer_per_group(predicted, *target.padded_members()), stored["chamfer_per_group"], tolerance)
        total, parts = net.masked_loss(masked)
        close(parts["chamfer"], stored["loss_chamfer"], 0, 1e-4)
        assert set(parts) == ({"chamfer", "energy"} if name == "polarmae" else {"chamfer"})
        assert torch.allclose(total, sum(parts.values()))
        if name == "polarmae":
            infill = net.decoder.infill
            if "equivariant_features" in stored:
                shape, _ = infill.shape(target.inputs[:, :3], target.token, target.slot, target.sizes)
                close(shape, stored["equivariant_features"], 1e-5)
            close(infill.by_slot(decoded, target), stored["decoded_energy"], tolerance)
            close(parts["energy"], stored["loss_energy"], 0, 1e-4)


def check_training_step(net, stored, stage):
    """Gradients by released name, and running statistics after the step."""
    tensors = dict(net.named_parameters())
    gradients = {released_name(k): p.grad for k, p in tensors.items() if p.grad is not None}
    for name, expected in zip(stored["train/grad_names"], stored["train/grad_l2"], strict=True):
        # What stands right before a batch norm has no gradient but rounding, hence the absolute tolerance.
        assert float(gradients[str(name)].double().norm()) == pytest.approx(expected, rel=1e-3, abs=1e-5), name
    released = to_released(net.state_dict(), stage)
    grads = to_released({k: tensors[k].grad if k in tensors else v for k, v in net.state_dict().items()}, stage)
    assert len(stored["train/grad_names"]) == len(gradients)
    n_compared = 0
    for key in stored.files:
        what, _, name = key.removeprefix("train/").partition("/")
        if what == "grad":
            scale = np.abs(stored[key]).max()
            close(grads[name], stored[key], 1e-3 * scale)
        elif what == "newbuf":
            close(released[name], stored[key], 1e-5)
        n_compared += what in ("grad", "newbuf")
    assert n_compared >= 6


@pytest.mark.parametrize("name", ["polarmae", "pointmae"])
def test_a_pretraining_step_equals_the_reference(batch, golden, manifest, name):
    stored = golden(f"public_reduced_pretrain_{name}")
    net = build(name, REDUCED).train()
    with_formula_weights(net, name, list(manifest(name)), SEEDS[name][0])
    total, parts = net.masked_loss(Masked.of(net.tokens(batch), hidden_of(stored)))
    total.backward()
    close(total, stored["train/train_loss_total"], 0, 1e-3)
    for part, loss in parts.items():
        close(loss, stored[f"train/train_loss_{part}"], 0, 1e-3)
    check_training_step(net, stored, "pretrain")


@pytest.mark.parametrize("size", [0, 1])
def test_segmentation_equals_the_reference(batch, golden, manifest, size):
    stored = golden("public_full_segsem" if size else "public_reduced_segsem")
    net = build("polarmae", STILL if size else REDUCED).eval()
    with_formula_weights(net, "segsem", list(manifest("segsem")), SEEDS["segsem"][size])
    tolerance, valid = (5e-4 if size else 1e-4), stored["point_mask"]
    with torch.no_grad():
        lifted = []
        net.head.lift.register_forward_hook(lambda module, given, made: lifted.append(made))
        tokens, scores = net.tokens(batch), net(batch)
        to_points = net.interpolation(batch, tokens)
        first = torch.tensor([0, *np.cumsum(tokens.lengths)])[batch.event_index]
        assert np.array_equal((to_points.tokens - first[:, None]).numpy(), stored["knn_idx"][valid])
        close(scores, stored["logits"][valid], tolerance)
        close(net.loss(batch, scores), stored["focal_loss"], 0, 1e-4)
        if not size:
            slots = np.arange(stored["token_features"].shape[1]) < np.array(tokens.lengths)[:, None]
            close(net.fetched(net.encode(tokens)[0]), stored["token_features"][slots], tolerance)
            close(lifted[0], stored["upsampled"][valid].astype(np.float32), 2e-3)  # stored in half precision
            close(scores.log_softmax(1), stored["log_probs"][valid], tolerance)
            assert np.array_equal(scores.argmax(1).numpy(), stored["id_pred"][valid])


def test_a_fine_tuning_step_equals_the_reference(batch, golden, manifest):
    stored = golden("public_reduced_segsem")
    net = build("polarmae", REDUCED).train()
    with_formula_weights(net, "segsem", list(manifest("segsem")), SEEDS["segsem"][0])
    loss = net.finetune_loss(batch)[0]
    loss.backward()
    close(loss, stored["train/loss_focal"], 0, 1e-3)
    check_training_step(net, stored, "segmentation")


@pytest.fixture(scope="module")
def unit_cases(golden):
    stored = golden("unit_cases")
    return {name: torch.from_numpy(stored[name]) for name in stored.files}


def test_norm_over_the_batch_equals_the_reference(unit_cases):
    mask, rows = unit_cases["mln_mask"], unit_cases["mln_x"][unit_cases["mln_mask"]]
    norm = BatchScalarNorm(rows.shape[1])
    with torch.no_grad():
        norm.weight.copy_(unit_cases["mln_gamma"][0, 0])
        norm.bias.copy_(unit_cases["mln_beta"][0, 0])
    close(norm(rows), unit_cases["mln_out"][mask], 1e-6)
    close(scalar_normalised(rows), unit_cases["mln_functional"][mask], 1e-6)


def test_batch_norm_equals_the_reference_in_training_and_evaluation(unit_cases):
    """The inputs are the layer norm's case, channels last; padded slots hold the bias afterwards."""
    mask, rows = unit_cases["mln_mask"], unit_cases["mln_x"][unit_cases["mln_mask"]]
    norm = PlainBatchNorm(rows.shape[1])
    with torch.no_grad():
        norm.weight.copy_(unit_cases["mbn_weight"])
        norm.bias.copy_(unit_cases["mbn_bias"])
    close(norm(rows), unit_cases["mbn_train_out"].transpose(1, 2)[mask], 1e-5)
    close(norm.running_mean, unit_cases["mbn_running_mean"], 1e-6)
    close(norm.running_var, unit_cases["mbn_running_var"], 1e-6)
    close(norm.eval()(rows), unit_cases["mbn_eval_out"].transpose(1, 2)[mask], 1e-5)
