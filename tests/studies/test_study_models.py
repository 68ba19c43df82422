"""Studies of self-supervised models: colours without position, attention, masked reconstruction, ablation."""

import csv
import json
import re
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import torch

from benchmark.cli import main
from benchmark.contracts import Frame, PointBatch
from benchmark.data.preprocess import Preprocess, energy_of, log_energy
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.plots import scene, scene_page
from benchmark.studies.ablation import STRATEGIES, Plan, _row, published
from benchmark.studies.base import load_events
from benchmark.studies.encoders import EventTokens, one_position, point_position, positions
from benchmark.studies.features import (
    Components,
    position_bias,
    position_functions,
    principal_components,
    share_between,
)
from benchmark.studies.reconstruction import chamfer, mean_shape
from builders.synthetic import make_data

matplotlib.use("Agg")
FRAME = Frame((384.0, 384.0, 384.0), 1 / (384 * 3**0.5), (768.0, 768.0, 768.0), "voxel of 3 mm")

# A model on tokens, small enough to know what comes out: a token per cube of 40 voxels.
FAKE = '''
"""Tokens are cubes; features are linear in the mean energy and the centre."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmark.contracts import ModelSpec, Preset, Reconstruction, TokenFeatures, TokenModel


@dataclass(frozen=True)
class Config:
    """What it answers."""

    depth: int = 2  # blocks
    mask_ratio: float = 0.5  # share hidden
    answer: str = "numbers"  # numbers | nan
    width: int = 8  # of features

    def __post_init__(self):
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio={self.mask_ratio} is not possible. A number between 0 and 1 was expected.")


class Fake(TokenModel):
    def __init__(self, config, inputs, task):
        super().__init__(task)
        self.config = config
        self.layer = torch.nn.Linear(4, config.width)
        self.guess = torch.nn.Linear(1, 3)

    def backbone(self):
        return (self.layer,)

    def pretraining_only(self):
        return (self.guess,)

    def forward(self, batch):
        return batch.coords.new_zeros(batch.n_points, self.task.n_outputs)

    def token_features(self, batch):
        cube = torch.cat([batch.event_index[:, None], (batch.coords // 40).long()], dim=1)
        cubes, token = torch.unique(cube, dim=0, return_inverse=True)
        n = torch.bincount(token).unsqueeze(1)
        inputs = torch.cat([batch.coords, batch.energy[:, None]], dim=1)
        means = torch.zeros(len(cubes), 4).index_add_(0, token, inputs) / n
        features = self.layer(means / 100).detach()
        if self.config.answer == "nan":
            features = features * float("nan")
        lengths = tuple(torch.bincount(cubes[:, 0], minlength=batch.n_events).tolist())
        return TokenFeatures(lengths, means[:, :3], features, token, torch.arange(len(token)))

    def attention(self, batch, layer):
        n = self.token_features(batch).lengths[0]
        scores = torch.stack([torch.eye(n) * (1 + layer), torch.zeros(n, n), -torch.eye(n)])
        return [scores.softmax(-1)]

    def reconstruct(self, batch, seed=0):
        tokens = self.token_features(batch)
        generator = torch.Generator().manual_seed(seed)
        hidden = torch.zeros(len(tokens.centres), dtype=torch.bool)
        hidden[torch.randperm(len(hidden), generator=generator)[: int(len(hidden) * self.config.mask_ratio)]] = True
        chosen = hidden[tokens.token]
        offset = self.guess.bias.detach()
        coords = batch.coords[tokens.point[chosen]] + offset
        return Reconstruction(tokens, hidden, tokens.token[chosen], coords, batch.column("log_energy")[chosen])


PRESETS = {"default": Preset(), "tiny": Preset(model={"width": 4})}
SPEC = ModelSpec(name="fake", summary="", config=Config, build=Fake, presets=PRESETS, pretrains=True)
'''


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """(options, folder): a model's file, its checkpoint and a folder of tiny events."""
    from benchmark import registry
    from benchmark.contracts import Inputs
    from benchmark.tasks import task

    root = tmp_path_factory.mktemp("studies")
    (root / "fake.py").write_text(FAKE)
    spec = registry.model_spec(str(root / "fake.py"))
    torch.manual_seed(1)
    model = spec.build(spec.config(), Inputs(("log_energy",), FRAME), task("lartpc-segmentation"))
    with torch.no_grad():
        model.guess.bias.copy_(torch.tensor([0.0, 3.0, 4.0]))  # 5 voxels off
    model.save(root / "weights.safetensors", {})
    options = ["--model", str(root / "fake.py"), "--checkpoint", str(root / "weights.safetensors"), "--threads", "1"]
    folder = make_data(root)
    for split in ("train", "val", "test"):  # packs the files here, so that no test's messages tell of it
        load_events("pilarnet-m", folder, split, preprocess=Preprocess(min_points=0))
    data = ["--dataset", "pilarnet-m", "--data", str(folder), "--set", "min_points=0", "--device", "cpu"]
    return [*options, *data], root


@pytest.fixture
def study(workplace, tmp_path, capsys):
    """A function that runs `study NAME ...` and returns the rows of its table and the folder of its files."""

    def run(name, *more):
        main(["study", name, *workplace[0], "--out", str(tmp_path), *more])
        capsys.readouterr()
        with (tmp_path / f"{name}.csv").open() as stream:
            return list(csv.DictReader(stream)), tmp_path

    return run


@pytest.fixture
def refused(workplace, tmp_path, capsys):
    """A function that runs `study NAME ...`, which must end with one sentence and without a file."""

    def run(name, *more, without=()):
        base = [o for o in workplace[0] if o not in without]
        with pytest.raises(SystemExit) as end:
            main(["study", name, *base, "--out", str(tmp_path / "out"), *more])
        message = capsys.readouterr().err
        assert end.value.code == 2
        assert message.count("\n") == 1
        assert "Traceback" not in message
        assert not (tmp_path / "out").exists()
        return message

    return run


def tokens_at(coords, token, features, target=None):
    """One event, its tokens as given, centres at the means of their members."""
    coords, token = np.asarray(coords, np.float32), np.asarray(token)
    centres = np.stack([coords[token == t].mean(0) for t in range(token.max() + 1)])
    batch = PointBatch(
        coords, np.ones(len(coords), np.float32), np.zeros((len(coords), 1), np.float32),
        np.array([0, len(coords)]), ("e",), ("log_energy",), FRAME, target=target,
    )  # fmt: skip
    return EventTokens(batch, centres, np.asarray(features, np.float32), token, np.arange(len(token)))


# Features


def random_event(rng, n_tokens=200, n_features=6):
    coords = rng.uniform(0, 768, (n_tokens, 3))
    return tokens_at(coords, np.arange(n_tokens), rng.normal(size=(n_tokens, n_features)))


def test_what_position_alone_predicts_is_removed_and_nothing_else():
    rng = np.random.default_rng(0)
    fitted, shown = random_event(rng, 4000), random_event(rng)
    map_ = 5 * rng.normal(size=(position_functions(shown.centres, FRAME).shape[1], 6))

    def with_position(event):
        return replace(event, features=event.features + position_functions(event.centres, FRAME) @ map_)

    rest = position_bias([with_position(fitted)], FRAME).remove(with_position(shown))
    assert np.abs(with_position(shown).features).mean() > 10
    assert np.corrcoef(rest.ravel(), shown.features.ravel())[0, 1] > 0.99


def test_functions_of_position_are_bounded_inside_the_detector():
    corners = np.array([[0, 0, 0], [768, 768, 768], [384, 384, 384]], np.float32)
    functions = position_functions(corners, FRAME)
    assert np.abs(functions).max() <= 1 + 1e-6
    assert np.linalg.matrix_rank(position_functions(random_event(np.random.default_rng(1)).centres, FRAME)) == 38


def test_principal_components_are_those_of_sklearn_up_to_sign_and_keep_theirs():
    from sklearn.decomposition import PCA

    features = np.random.default_rng(3).normal(size=(50, 8)) * np.arange(1, 9)
    found = principal_components(features)
    expected = PCA(3).fit(features)
    assert np.allclose(np.abs(found.values), np.abs(expected.transform(features)), atol=1e-6)
    assert found.share == pytest.approx(expected.explained_variance_ratio_.sum())
    turned = principal_components(features[::-1])
    assert np.allclose(turned.values[::-1], found.values)


def test_colours_fill_the_cube_and_a_constant_component_is_grey():
    values = np.stack([np.linspace(-5, 9, 101), np.linspace(3, 1, 101), np.full(101, 2.0)], axis=1)
    colours = Components(values, 1.0).colours()
    assert colours.min() == 0
    assert colours.max() == 1
    assert (colours[:, 2] == 0.5).all()
    assert (np.diff(colours[:, 0]) >= 0).all()


def test_share_between_groups():
    labels = np.array([0, 0, 1, 1, -1])
    assert share_between(np.array([[1.0], [1], [3], [3], [99]]), labels) == 1
    assert share_between(np.array([[1.0], [3], [1], [3], [99]]), labels) == 0
    assert share_between(np.array([[0.0], [2], [2], [4], [99]]), labels) == pytest.approx(0.5)
    assert share_between(np.ones((5, 2)), labels) == 0


def test_points_take_the_mean_of_their_tokens_and_lone_ones_the_nearest():
    event = tokens_at([[0, 0, 0], [1, 0, 0], [10, 0, 0]], [0, 0, 1], [[0], [1]])
    event = replace(event, token=np.array([0, 1, 1]), point=np.array([0, 0, 2]))
    assert event.spread(np.array([2.0, 4.0])).tolist() == [3, 2, 4]
    assert event.spread(np.array([[2.0, 0], [4, 8]])).tolist() == [[3, 4], [2, 0], [4, 8]]


def test_the_majority_of_a_token_leaves_unlabelled_points_out():
    event = tokens_at(np.arange(18).reshape(6, 3), [0, 0, 0, 1, 1, 1], [[0], [0]])
    assert event.majority(np.array([2, 2, 0, -1, -1, 3])).tolist() == [2, 3]
    assert event.majority(np.full(6, -1)).tolist() == [-1, -1]


def test_features_study_writes_table_figure_and_page(study):
    rows, folder = study("features", "--event", "0-2", "--fit-events", "8")
    assert [r["encoder"] for r in rows] == ["untrained", "pre-trained"]
    assert all(float(r["variance_from_position"]) > 0.9 for r in rows)  # the fake's features are linear in the centre
    assert {(r["n_events_shown"], r["n_events_measured"]) for r in rows} == {("3", "8")}
    assert all(0 < float(r["variance_between_classes"]) < 1 for r in rows)
    assert (folder / "features.png").read_bytes().startswith(b"\x89PNG")
    about = json.loads((folder / "features.json").read_text())
    assert about["settings"]["weights"]["file"] == "weights.safetensors"
    traces = figure_of(folder / "features.html")
    assert len(traces) == 9  # three events, three scenes
    assert [t["visible"] for t in traces] == [True] * 3 + [False] * 6
    assert all(re.fullmatch(r"#[0-9a-f]{6}", c) for c in traces[2]["marker"]["color"])


def test_the_untrained_encoder_is_another_than_the_trained_one(study):
    rows, _ = study("features", "--event", "0-2", "--fit-events", "8", "--no-debias")
    assert rows[0]["variance_in_3_components"] != rows[1]["variance_in_3_components"]


def figure_of(path):
    """The traces in a page, read back from its JSON; nothing in the page may need the network."""
    text = path.read_text()
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", text)
    start = re.search(r"Plotly\.newPlot\(\s*\"[^\"]+\",\s*", text).end()
    return json.JSONDecoder().raw_decode(text, start)[0]


# Attention


def test_attention_study_has_a_map_per_layer_and_head_and_their_mean(study):
    rows, folder = study("attention", "--event", "1", "--token", "0")
    assert [(r["layer"], r["head"]) for r in rows] == [(x, h) for x in "01" for h in ("0", "1", "2", "mean")]
    by_head = {(r["layer"], r["head"]): r for r in rows}
    alike = by_head["0", "1"]
    n_tokens = float(alike["effective_tokens"])
    assert n_tokens == pytest.approx(round(n_tokens), abs=1e-3)
    assert float(alike["mean_distance"]) == pytest.approx(float(alike["mean_distance_all_alike"]), rel=1e-4)
    assert float(alike["weight_on_own_particle"]) == pytest.approx(float(alike["tokens_of_own_particle"]), rel=1e-4)
    assert float(by_head["1", "0"]["mean_distance"]) < float(by_head["0", "0"]["mean_distance"])  # more on itself
    text = (folder / "attention.html").read_text()
    assert text.count('"method":"update"') == 8
    traces = figure_of(folder / "attention.html")
    assert len(traces) == 5  # two scenes with a mark each, and the colour bar
    assert "%{customdata" in traces[2]["hovertemplate"]


def test_attention_of_one_head_is_shown_beside_the_truth(study):
    rows, _ = study("attention", "--event", "0", "--layer", "1", "--head", "mean")
    assert [(r["layer"], r["head"]) for r in rows] == [("1", "mean")]


def test_a_place_means_its_nearest_token(study):
    near, _ = study("attention", "--event", "0", "--point", "0,0,0", "--layer", "0", "--head", "0")
    far, _ = study("attention", "--event", "0", "--point", "768,768,768", "--layer", "0", "--head", "0")
    assert near[0]["token"] != far[0]["token"]


# Reconstruction


def test_chamfer_distance_by_hand():
    true = np.array([[0.0, 0, 0], [0, 0, 4]])
    assert chamfer(true, true) == 0
    assert chamfer(np.array([[0.0, 3, 0]]), true) == pytest.approx((3 + 5) / 2 + 3)


def test_the_mean_shape_lies_among_the_offsets():
    rng = np.random.default_rng(2)
    coords = np.concatenate([c + rng.normal(size=(40, 3)) for c in ([50, 50, 50], [300, 20, 99])])
    event = tokens_at(coords, np.repeat([0, 1], 40), np.zeros((2, 3)))
    shape = mean_shape([event], 0)
    assert shape.shape == (40, 3)
    assert np.abs(shape).max() < 4
    assert np.linalg.norm(shape[0]) < 1  # the first is the middle, the next ones are far from it
    assert np.linalg.norm(shape[1]) > 1.5
    assert np.array_equal(shape, mean_shape([event], 0))


def test_reconstruction_study_measures_how_far_off_the_prediction_is(study):
    rows, folder = study("reconstruction", "--event", "0-1", "--fit-events", "4")
    for row in rows:
        assert int(row["n_hidden"]) == int(row["n_tokens"]) // 2
        assert 0 < float(row["chamfer_model"]) <= 10 + 1e-3  # every point is moved by 5 voxels
        assert float(row["hidden_points_also_in_visible_tokens"]) == 0
        assert all(float(row[f"chamfer_{k}"]) > 0 for k in ("token_centre", "mean_shape", "nearest_visible"))
    assert len(figure_of(folder / "reconstruction.html")) == 2 * 3 + 1
    less, _ = study("reconstruction", "--event", "0-1", "--fit-events", "4", "--mask-ratio", "0.25")
    assert int(less[0]["n_hidden"]) == int(less[0]["n_tokens"]) // 4


def test_energy_is_the_inverse_of_the_log_energy():
    energy = np.array([0.0, 0.13, 1, 20, 50], np.float32)
    for config in (Preprocess(), Preprocess(log_eps_mev=0.01)):
        assert np.allclose(energy_of(log_energy(energy, config), config), energy, atol=2e-5, rtol=1e-4)


# What is refused


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("features", ["--event", "99"], "no event 99"),
        ("features", ["--event", "x"], "no list of events"),
        ("features", ["--set", "answer=nan"], "NaN"),
        ("attention", ["--event", "0-1"], "One was expected"),
        ("attention", ["--token", "5000"], "no token 5000"),
        ("attention", ["--token", "-1"], "no token -1"),
        ("attention", ["--layer", "2"], "no layer 2"),
        ("attention", ["--head", "3"], "no head 3"),
        ("attention", ["--point", "1,2"], "no position"),
        ("attention", ["--point", "1,nan,2"], "no position"),
        ("attention", ["--token", "0", "--point", "1,2,3"], "both given"),
        ("reconstruction", ["--mask-ratio", "1.5"], "mask_ratio=1.5"),
        ("reconstruction", ["--mask-ratio", "0.0001"], "0 of"),
        ("reconstruction", ["--set", "answer=nan"], "NaN"),
        ("features", ["--preset", "tiny"], "other shapes"),
        ("reconstruction", ["--checkpoint", "absent.safetensors"], "no checkpoint"),
        ("features", ["--model", "pointnet"], "makes no tokens"),
    ],
)
def test_bad_input_is_told_in_one_sentence_and_nothing_is_written(refused, name, more, words):
    assert words in refused(name, *more)


def test_weights_that_hold_no_decoder_cannot_reconstruct(refused, workplace):
    from safetensors.torch import load_file, save_file

    path = workplace[1] / "encoder.safetensors"
    state = load_file(workplace[1] / "weights.safetensors")
    save_file({k: v for k, v in state.items() if k.startswith("layer")}, path)
    assert "decoder" in refused("reconstruction", "--checkpoint", str(path))


def test_lists_of_events():
    assert positions("0,3,5-7") == [0, 3, 5, 6, 7]
    assert one_position("4") == 4
    assert point_position("1,2.5,-3") == (1, 2.5, -3)
    for wrong in ("", "-1", "1,1", "3-1", "a", "0-"):
        with pytest.raises(ConfigError):
            positions(wrong)


# Drawing


def test_the_widest_view_looks_along_the_thinnest_direction():
    rng = np.random.default_rng(0)
    coords = rng.normal(size=(500, 3)) * [1, 100, 10]
    view = scene.widest_view(coords)
    assert np.allclose(np.abs(view.axes), [[0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=0.05)
    assert np.linalg.det(view.axes) == pytest.approx(1)
    assert view.axes[0, 1] > 0
    assert view.axes[1, 2] > 0
    assert np.isfinite(scene.widest_view(coords[:1]).axes).all()


def test_lengths_are_equal_in_both_directions_of_a_panel():
    import matplotlib.pyplot as plt

    coords = np.random.default_rng(0).normal(size=(50, 3)) * [1, 30, 5]
    panel = scene.Panel("t", coords, np.zeros((50, 3)))
    figure = scene.draw_panels(plt, [[panel, panel]], "voxel")
    figure.canvas.draw()
    axis = figure.axes[0]
    a, b, c = axis.transData.transform([[0, 0], [1, 0], [0, 1]])
    assert np.linalg.norm(b - a) == pytest.approx(np.linalg.norm(c - a), rel=1e-6)
    flat = scene.widest_view(coords).project(coords)
    assert axis.get_xlim()[0] <= flat[:, 0].min()
    assert axis.get_xlim()[1] >= flat[:, 0].max()
    assert axis.get_ylim()[0] <= flat[:, 1].min()
    assert axis.get_ylim()[1] >= flat[:, 1].max()
    plt.close(figure)


def test_a_scale_places_values_evenly_or_by_logarithm():
    assert scene.Scale("", 0, 10).fraction(np.array([-5, 5, 20])).tolist() == [0, 0.5, 1]
    assert np.allclose(scene.Scale("", 0.1, 10, logarithmic=True).fraction(np.array([0.0, 1, 100])), [0, 0.5, 1])
    assert scene.Scale("", 0.3, 30, logarithmic=True).round_values() == [0.5, 1, 2, 5, 10, 20]


def test_a_page_escapes_every_text():
    nasty = "<script>alert(1)</script>"
    panel = scene.Panel(nasty, np.zeros((2, 3)), np.zeros((2, 3)), [nasty, nasty])
    text = scene_page.page(nasty, [scene_page.Choice(nasty, [panel]), scene_page.Choice("b", [panel])], nasty, nasty)
    assert nasty not in text
    assert "&lt;script&gt;" in text


def test_without_plotly_a_page_says_what_to_type(monkeypatch):
    import builtins

    usual = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("plotly"):
            raise ModuleNotFoundError(name, name="plotly")
        return usual(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(BenchmarkError, match=r"pip install plotly"):
        scene_page.page("", [scene_page.Choice("", [scene.Panel("", np.zeros((1, 3)), np.zeros((1, 3)))])], "voxel")


# Ablation


def test_the_published_ablation_is_whole_and_its_means_are_means():
    theirs = published()
    names = {name for name, _ in theirs}
    assert names < {s.name for s in STRATEGIES}
    assert len(theirs) == 25
    for name in names:
        mean = np.mean([theirs[name, c] for c in ("track", "shower", "delta", "michel")])
        assert theirs[name, "mean"] == pytest.approx(mean, abs=1e-3)


def test_every_strategy_is_pretrained_alike_and_probed_by_the_same_task():
    plan = Plan("polarmae", steps=7, labels="12", assignments=("pretrain.batch_size=3", "probe.c=0.1"))
    for strategy in STRATEGIES:
        request = plan.request(strategy, 5)
        assert (request.task, request.labels, request.seed) == ("lartpc-token-probe", "12", 5)
        assert "probe.c=0.1" in request.assignments
        trains = [a for a in request.assignments if a.startswith("pretrain.")]
        expected = [] if strategy.mode == "scratch" else ["pretrain.steps=7", "pretrain.batch_size=3"]
        assert trains == expected


def test_measured_and_published_scores_stand_in_columns_of_their_own():
    class Record:
        config = {"model_config": {"overlap": 0.73}}  # noqa: RUF012
        metrics = {"overall": {"macro_f1": {"value": 0.5, "low": 0.4, "high": 0.6}}, "per_class": {}}  # noqa: RUF012

    row = _row(STRATEGIES[0], 0, Record(), ["track"], published())
    assert (row["f1_macro"], row["f1_macro_low"], row["f1_macro_high"]) == (0.5, 0.4, 0.6)
    assert row["f1_track"] is None
    assert (row["published_f1_macro"], row["published_f1_track"]) == (0.469, 0.84)
    assert _row(STRATEGIES[-1], 0, Record(), ["track"], published())["published_f1_macro"] is None
