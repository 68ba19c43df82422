"""The sparse UResNet: published size, SPINE's own network computed by our convolutions, bad input, the record."""

import dataclasses
import importlib
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.baselines._uresnet import NormAct
from benchmark.baselines.sparse_uresnet import SPEC, SparseUResNetConfig
from benchmark.contracts import Inputs, PointBatch
from benchmark.datasets._pilarnet import FRAME
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.runs.config import Request
from benchmark.runs.resolve import resolve
from benchmark.sparse import Sites, SparseTensor, backend, cat
from benchmark.tasks import TASKS

FIVE = TASKS["lartpc-segmentation-5"]
INPUTS = Inputs(("log_energy",), FRAME)


def batch_of(coords, energy, offsets, target=None):
    return PointBatch(
        coords=torch.as_tensor(coords, dtype=torch.float32), energy=torch.as_tensor(energy, dtype=torch.float32),
        feats=torch.log10(torch.as_tensor(energy, dtype=torch.float32))[:, None], offsets=torch.as_tensor(offsets),
        event_ids=tuple(map(str, range(len(offsets) - 1))), columns=("log_energy",), frame=FRAME, target=target,
    )  # fmt: skip


def two_events(seed=0, n=300):
    rng = np.random.default_rng(seed)
    parts = [np.unique(rng.integers(100 + e, 112 + e, (n, 3)), axis=0) for e in range(2)]
    coords = np.concatenate(parts)
    return batch_of(coords, rng.lognormal(0, 0.5, len(coords)), [0, len(parts[0]), len(coords)])


def model(preset="tiny", task=FIVE, **changes):
    torch.manual_seed(0)
    config = resolve(Request("sparse_uresnet", task=task.name, preset=preset)).model_config
    return SPEC.build(dataclasses.replace(config, **changes), INPUTS, task)


def test_the_paper_preset_has_the_published_number_of_parameters_and_recipe():
    assert model("paper").n_parameters == 10_956_229
    config = resolve(Request("sparse_uresnet", task=FIVE.name, preset="paper"))
    assert config.optim.lr == 1e-3 and config.optim.schedule == "constant" and config.optim.weight_decay == 0
    assert config.train.batch_size == 256 and config.train.rotation == "none"
    network = config.model_config
    assert (network.norm_eps, network.norm_momentum, network.slope) == (1e-4, 0.01, 0.33)


@pytest.mark.parametrize(("filters", "millions"), [(16, 2.741), (64, 43.806)])
def test_other_widths_have_the_sizes_that_spine_has(filters, millions):
    assert round(model("paper", filters=filters).n_parameters / 1e6, 3) == millions


# SPINE's network on our convolutions --------------------------------------------------------------------------------


class _Kept:
    """What SPINE asks of a native sparse tensor."""

    def __init__(self, x):
        self.x = x


class _Module(nn.Module):
    """A layer of features alone."""

    def forward(self, tensor):
        return _Kept(tensor.x.with_features(self.own()(tensor.x.features)))


def _feature_layer(name, attribute, make):
    def init(self, *args, **kwargs):
        nn.Module.__init__(self)
        setattr(self, attribute, make(*args, **kwargs))

    return type(name, (_Module,), {"__init__": init, "own": lambda self: getattr(self, attribute)})


class _Convolution(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size=-1, stride=1, dilation=1, bias=False, **_):
        super().__init__()
        assert (kernel_size, stride) in ((3, 1), (2, 2)) and dilation == 1 and not bias
        self.stride = stride
        self.kernel = nn.Parameter(torch.zeros(kernel_size**3, in_channels, out_channels))

    def forward(self, tensor):
        x = tensor.x
        if self.stride == 1:
            return _Kept(x.with_features(backend("native").submanifold(x.features, self.kernel, x.sites)))
        return _Kept(SparseTensor(backend("native").strided(x.features, self.kernel, x.sites), x.sites.coarser))


class _ConvolutionTranspose(_Convolution):
    finer = {}  # noqa: RUF012  sites by those made from them; MinkowskiEngine's manager knows them by their stride

    def forward(self, tensor):
        sites = self.finer[id(tensor.x.sites)]
        return _Kept(SparseTensor(backend("native").inverse(tensor.x.features, self.kernel, sites), sites))


class _Network(nn.Module):
    def __init__(self, D):
        super().__init__()


def _spine_backend():
    """Our convolutions as a backend of SPINE; operations that its UResNet does not use have no meaning here."""
    made = types.ModuleType("spine.model.sparse.backends.particlebench")
    layers = {
        "Network": _Network, "Convolution": _Convolution, "ConvolutionTranspose": _ConvolutionTranspose,
        "Linear": _feature_layer("Linear", "linear", nn.Linear),
        "BatchNorm": _feature_layer("BatchNorm", "bn", nn.BatchNorm1d),
        "LeakyReLU": _feature_layer("LeakyReLU", "act", nn.LeakyReLU),
    }  # fmt: skip
    made.module = lambda operation: layers.get(operation) or type(operation, (nn.Module,), {})

    def create(features, coordinates=None, **_):
        sites, rows = Sites.of(coordinates)
        level = sites
        for _ in range(8):
            _ConvolutionTranspose.finer[id(level.coarser)] = level
            level = level.coarser
        kept = features.new_zeros(features.shape)
        kept[rows] = features
        tensor = _Kept(SparseTensor(kept, sites))
        tensor.rows = rows
        return tensor

    made.create_tensor = create
    made.concatenate = lambda a, b: _Kept(cat(a.x, b.x))
    made.coordinates = lambda t: t.x.coords
    made.features = lambda t: t.x.features
    made.tensor_stride = lambda t: (t.x.stride,) * 3
    made.unique_index = made.inverse_mapping = lambda t: t.rows
    _Kept.__add__ = _Kept.__iadd__ = lambda a, b: _Kept(a.x + b.x)
    return made


@pytest.fixture(scope="module")
def spine():
    """SPINE's UResNet module, with our backend in the place of MinkowskiEngine. It can be imported once per process."""
    pytest.importorskip("spine.model", reason="SPINE (pip install spine) is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPINE_SPARSE_BACKEND", "particlebench")
        patch.setitem(sys.modules, "spine.model.sparse.backends.particlebench", _spine_backend())
        yield importlib.import_module("spine.model.uresnet.model")


def _spine_names(depth, repetitions):
    """Our modules' names -> SPINE's."""
    names = {"network.stem": "backbone.encoder.input_layer", "network.norm": "output.0.bn"}
    names["head"] = "linear_segmentation.linear"
    for side, levels in (("encoder", range(depth)), ("decoder", range(depth - 1))):
        for level in levels:
            stored = level if side == "encoder" else depth - 2 - level  # theirs counts from the deepest on
            block = f"backbone.{side}.{side[:-2]}ing_block.{stored}"
            for r in range(repetitions):
                ours, theirs = f"network.{side}.{level}.{r}", f"{block}.{r}"
                names |= {f"{ours}.conv{i}": f"{theirs}.conv{i}" for i in (1, 2)}
                names |= {f"{ours}.norm{i}": f"{theirs}.norm{i}.bn" for i in (1, 2)}
                names[f"{ours}.skip"] = f"{theirs}.residual.linear"
    for level in range(depth - 1):
        down, up = f"backbone.encoder.encoding_conv.{level}", f"backbone.decoder.decoding_conv.{depth - 2 - level}"
        names |= {f"network.down.{level}.norm": f"{down}.0.bn", f"network.down.{level}.conv": f"{down}.2"}
        names |= {f"network.up.{level}.norm": f"{up}.0.bn", f"network.up.{level}.conv": f"{up}.2"}
    return names


@pytest.mark.parametrize("training", [False, True])
def test_outputs_and_gradients_equal_those_of_spines_own_network(spine, training):
    from spine.data import TensorBatch

    depth, repetitions, filters = 5, 2, 8
    ours = model("paper", filters=filters)
    theirs = spine.UResNetSegmentation(
        {
            "num_classes": 5, "num_input": 1, "filters": filters, "depth": depth, "reps": repetitions,
            "activation": {"name": "lrelu", "negative_slope": 0.33},
            "norm_layer": {"name": "batch_norm", "eps": 1e-4, "momentum": 0.01},
        }
    )  # fmt: skip
    with torch.no_grad():
        for name, buffer in ours.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
            elif name.endswith("running_mean"):
                buffer.uniform_(-0.5, 0.5)
    names = _spine_names(depth, repetitions)
    state = {f"{names[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}": v for k, v in ours.state_dict().items()}
    theirs.load_state_dict(state, strict=True)
    ours.train(training)
    theirs.train(training)
    batch = two_events()
    index = batch.event_index.float()[:, None]
    table = torch.cat([index, batch.coords, batch.energy[:, None]], dim=1)
    counts = batch.lengths.tolist()
    out = theirs(TensorBatch(table, counts, has_batch_col=True, coord_cols=(1, 2, 3)))["segmentation"].tensor
    order = Sites.of(torch.cat([index, batch.coords], dim=1).long())[1]  # the adapter's rows are those of the sites
    expected, found = out[order], ours(batch)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for scores in (expected, found):
        scores.square().mean().backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        module, _, last = name.rpartition(".")
        reference = gradients[f"{names[module]}.{last}"].grad
        assert (parameter.grad - reference).abs().max() <= 1e-5 * max(1.0, float(reference.abs().max())), name


# what is the suite's own --------------------------------------------------------------------------------------------


def test_points_of_one_voxel_share_their_mean_feature_and_their_scores():
    batch = batch_of([[5.1, 5.2, 5.3], [4.9, 5.0, 5.4], [6, 6, 6]], [1.0, 100.0, 1.0], [0, 3])
    merged = batch_of([[5, 5, 5], [6, 6, 6]], [10.0, 1.0], [0, 2])  # the mean logarithm of 1 and 100
    net = model().eval()
    scores = net(batch)
    torch.testing.assert_close(scores[0], scores[1])
    torch.testing.assert_close(scores[1:], net(merged))


def test_energies_of_one_voxel_are_summed():
    batch = batch_of([[5.1, 5.2, 5.3], [4.9, 5.0, 5.4], [6, 6, 6]], [1.0, 2.0, 1.0], [0, 3])
    merged = batch_of([[5, 5, 5], [6, 6, 6]], [3.0, 1.0], [0, 2])
    net = model(inputs="energy").eval()
    torch.testing.assert_close(net(batch)[1:], net(merged))


def test_a_batch_of_one_voxel_is_trained_on():
    batch = batch_of([[5, 5, 5]], [1.0], [0, 1], torch.tensor([2]))
    net = model().train()
    loss = net.finetune_loss(batch)[0]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert all(m.num_batches_tracked == 0 for m in net.modules() if isinstance(m, NormAct))


def test_the_unweighted_loss_is_the_mean_cross_entropy():
    batch = dataclasses.replace(two_events(), target=torch.zeros(two_events().n_points, dtype=torch.int64))
    scores = torch.randn(batch.n_points, 5, generator=torch.Generator().manual_seed(1))
    found = model(loss="unweighted").loss(batch, scores)
    torch.testing.assert_close(found, -torch.log_softmax(scores, 1)[:, 0].mean())


def test_coordinates_that_no_voxel_has_are_refused_in_one_sentence():
    for wrong in (3e9, float("nan")):
        with pytest.raises(BenchmarkError, match=r"voxel coordinate is .* 32 bits"):
            model().eval()(batch_of([[5, 5, wrong]], [1.0], [0, 1]))


def test_the_record_names_the_backend_that_auto_took():
    assert model().backends == {"sparse convolution": "native"}


def test_a_run_records_the_backend(tmp_path):
    from builders.synthetic import execute, make_data, request

    outcome = execute(make_data(tmp_path / "data"), tmp_path, request("sparse_uresnet"))
    assert outcome.record.status == "finished"
    assert outcome.record.config["model_config"]["backend"] == "auto"
    assert outcome.record.environment["backends"] == {"sparse convolution": "native"}


def test_a_step_in_half_precision_has_finite_gradients():
    batch = dataclasses.replace(two_events(), target=torch.zeros(two_events().n_points, dtype=torch.int64))
    net = model().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = net.finetune_loss(batch)[0]
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_a_backend_that_does_not_exist_is_refused():
    known = "auto, native, triton, spconv, spconv-triton, minkowski"
    with pytest.raises(ConfigError, match=rf"backend='cudnn' is not known. One of {known}"):
        resolve(Request("sparse_uresnet", assignments=("backend=cudnn",)))


def test_a_backend_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr("benchmark.packages.find_spec", lambda name: None)
    from benchmark.sparse.backends import unusable

    unusable.cache_clear()
    with pytest.raises(
        BenchmarkError, match=r"minkowski cannot be used on this cpu device: the package MinkowskiEngine is missing"
    ):
        SPEC.build(SparseUResNetConfig(backend="minkowski"), INPUTS, FIVE)
    unusable.cache_clear()
