"""Federated training: one site is the base, what is averaged and what stays, what crosses, and each strategy's own part."""

import contextlib
import importlib.util
import itertools
import os
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from benchmark import InputError
from benchmark.check import data_of, refit
from benchmark.check.contract import NotApplicable
from benchmark.check.methods import METHOD_CHECKS, Candidate
from benchmark.methods import networks
from benchmark.methods.federated import Federated, rounds_of, share
from benchmark.methods.losses import partial_cross_entropy
from benchmark.methods.sites import BlendSite, HeadSite, NormSite, ProxSite, SelectiveSite, Site, network_method, of_head
from benchmark.plan import plugins
from benchmark.seal.contract import Budget, TestScan, WeakData, WeakScan
from benchmark.train import worker
from tests.support.sweeps import TINY, small_plan

BUDGET = Budget(steps=8, batch=2, size=16)
NEEDS_FLOWER = pytest.mark.skipif(importlib.util.find_spec("flwr") is None, reason="Flower is not installed")


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """The first blending has two passes."""
    monkeypatch.setattr(BlendSite, "passes", (2, 2))


def scans_of(*sites, brightness=1.0):
    """Two scans of each of these sites; those of a later one are darker, unless `brightness` is 1."""
    scans = list(data_of("scribble", shapes=((3, 32, 32), (2, 32, 32))))
    return [WeakScan(s.image * np.float32(brightness**site), s.allowed, site=site) for site in sites for s in scans]


def data_at(*sites, brightness=0.7):
    return WeakData(scans_of(*sites, brightness=brightness), 3, 1)


def trained(strategy, data, budget=BUDGET, log=None, **options):
    method = Federated(strategy=strategy, local_steps=options.pop("local_steps", 2), **options)
    refit(method, data, log, budget=budget)
    return method


def weights_of(site):
    return site.method.net.state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def begun(cls, sites=2, place=0, budget=BUDGET, **options):
    """A site before its first round."""
    torch.manual_seed(0)
    site = cls(Federated(strategy="local", **options), data_at(0), budget, lambda step, /, **values: None, place, sites)
    site.begin()
    return site


# ------------------------------------------------------------------------------------------------------ one is the base


@NEEDS_FLOWER
@pytest.mark.parametrize("base", ["pce", "scribble2label"])
def test_one_site_is_the_base_method_bit_for_bit(base):
    own, logged = network_method(base)(), []
    refit(own, data_at(0), lambda step, /, **values: logged.append((step, values)), budget=BUDGET)
    again = []
    method = trained(
        "fedavg", data_at(0), log=lambda step, /, **values: again.append((step, values)), base=base, local_steps=3
    )
    assert same(weights_of(method.sites[0]), own.net.state_dict())
    assert again == logged
    assert logged[-1][0] == BUDGET.steps - 1


@pytest.mark.parametrize("strategy", ["local", "pooled"])
def test_without_exchange_one_site_is_the_base_method_and_needs_no_flower(strategy, monkeypatch):
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, find=importlib.util.find_spec: None if name == "flwr" else find(name)
    )
    own = network_method("pce")()
    refit(own, data_at(0), budget=BUDGET)
    assert same(weights_of(trained(strategy, data_at(0)).sites[0]), own.net.state_dict())


def test_pooled_is_the_base_method_on_the_scans_of_all_sites():
    own, scans = network_method("pce")(), data_at(0, 1)
    refit(own, scans, budget=BUDGET)
    method = trained("pooled", scans)
    assert list(method.sites) == [0]
    assert same(weights_of(method.sites[0]), own.net.state_dict())
    assert np.array_equal(
        method.predict(TestScan(next(iter(scans)).image, site=1)), own.predict(TestScan(next(iter(scans)).image))
    )


@NEEDS_FLOWER
def test_two_sites_with_equal_scans_are_one():
    one = trained("fedavg", data_at(0), replace(BUDGET, steps=4))
    two = trained("fedavg", data_at(0, 1, brightness=1.0), replace(BUDGET, steps=8))
    assert same(weights_of(two.sites[0]), weights_of(two.sites[1]))
    assert same(weights_of(one.sites[0]), weights_of(two.sites[0]))  # half of each is exact


# ----------------------------------------------------------------------------------------------------------- exchange


class Fixed:
    """A site that adds a number to what it receives."""

    def __init__(self, number, images):
        self.number, self.images, self.received = number, images, []

    def weights(self):
        return np.full(2, self.number - 1, np.float32)

    def train(self, received, mu):
        self.received.append(received.tolist())
        return received + np.float32(self.number), self.images


@NEEDS_FLOWER
def test_the_mean_weighs_a_site_by_its_share():
    from benchmark.methods.flower import exchange

    sites = {3: Fixed(1.0, 1), 7: Fixed(5.0, 3)}
    exchange(sites, 3, 0.0)
    assert sites[3].received == sites[7].received == [[0, 0], [4, 4], [8, 8]]  # (1 * 1 + 3 * 5) / 4 in each round


def test_a_site_is_worth_its_slices_or_its_batches():
    for weighting, worth in (("images", 5), ("batches", 3)):
        site = begun(Site, weighting=weighting, local_steps=1)
        assert site.train(site.weights(), 0.0)[1] == worth


@NEEDS_FLOWER
def test_all_strategies_take_the_budgets_steps_in_all():
    data = data_at(0, 1, 2)
    for strategy in ("local", "pooled", "fedavg"):
        method = trained(strategy, data, replace(BUDGET, steps=8))
        assert method.facts["images_seen"] == 8 * BUDGET.batch
        assert [site.done for site in method.sites.values()] == ([8] if strategy == "pooled" else [3, 3, 2])
    assert method.facts["rounds"] == rounds_of(3, 2) == 3
    assert sum(share(11, 4, place) for place in range(4)) == 11
    with pytest.raises(ValueError, match="a budget of 2 steps is too small for 3 sites"):
        trained("fedavg", data, replace(BUDGET, steps=2))


@NEEDS_FLOWER
def test_the_log_counts_the_steps_of_all_sites():
    steps = []
    trained("fedavg", data_at(0, 1, 2), log=lambda step, /, **values: steps.append(step))
    assert steps == list(range(BUDGET.steps))


@NEEDS_FLOWER
@pytest.mark.parametrize("strategy", ["fedavg", "fedbn", "fedicra"])
def test_only_one_array_of_weights_and_known_numbers_cross_and_are_counted(strategy, monkeypatch):
    from benchmark.methods import flower

    crossed = []
    answer = flower.Grid.send_and_receive

    def audited(self, messages, **named):
        messages = list(messages)
        replies = answer(self, messages, **named)
        crossed.extend(record for message in [*messages, *replies] for record in message.content.items())
        return replies

    monkeypatch.setattr(flower.Grid, "send_and_receive", audited)
    method = trained(strategy, data_at(0, 1))
    sites = list(method.sites.values())
    assert {name for name, _ in crossed} == {"arrays", "config", "metrics"}
    assert {key for _, record in crossed for key in record} == {"weights", "server-round", "share"}
    sizes = {record["weights"].numpy().shape for name, record in crossed if name == "arrays"}
    net = weights_of(sites[0])
    assert sizes == {(sum(net[key].numel() for key in sites[0].keys),)}
    assert method.facts["bytes_sent"] == sum(record.count_bytes() for _, record in crossed)
    weights = sum(net[key].numel() for key in sites[0].keys) * 4
    messages = 2 * 2 * method.facts["rounds"] + 1  # to two sites and back; the first weights are those of a site
    assert 0 <= method.facts["bytes_sent"] - weights * messages < 200 * messages


@NEEDS_FLOWER
def test_a_site_holds_only_its_own_scans():
    data = data_at(0, 4)
    method = trained("fedavg", data, replace(BUDGET, steps=2, size=32))
    for number, site in method.sites.items():
        own = [scan for scan in data if scan.site == number]
        assert [scan.site for scan in site.data] == [number, number]
        assert np.array_equal(site.method.images.numpy(), np.concatenate([scan.image for scan in own]))


@NEEDS_FLOWER
def test_nothing_is_reported_to_flower_and_its_log_is_quiet(capfd):
    from flwr.supercore import telemetry

    trained("fedavg", data_at(0, 1), replace(BUDGET, steps=4))
    assert os.environ["FLWR_TELEMETRY_ENABLED"] == "0"
    assert not telemetry.FLWR_TELEMETRY_ENABLED or telemetry.FLWR_TELEMETRY_ENABLED == "0"
    assert capfd.readouterr() == ("", "")


@NEEDS_FLOWER
@pytest.mark.slow
@pytest.mark.parametrize("strategy_", ["local", "fedavg", "fedprox", "fedbn", "fedper", "fedala", "fedicra"])
def test_every_strategy_keeps_the_contract(strategy_):
    """On scans of one site, as the checks have no others."""

    @dataclass
    class Other(Federated):
        strategy: str = strategy_
        local_steps: int = 2

    for check in METHOD_CHECKS:
        with contextlib.suppress(NotApplicable):
            check(Candidate(plugins.get("method", "federated"), Other))


# ------------------------------------------------------------------------------------------------------ what each keeps


STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}


@NEEDS_FLOWER
@pytest.mark.parametrize(
    ("strategy", "site", "statistics", "ends"),
    [
        ("fedbn", NormSite, "mean", {"weight", "bias"} | STATISTICS),
        ("fedper", HeadSite, "mean", {"weight", "bias"}),
        ("fedper", HeadSite, "own", {"weight", "bias"} | STATISTICS),
        ("fedavg", Site, "own", STATISTICS),
    ],
)
def test_what_a_site_keeps_differs_and_the_rest_is_common(strategy, site, statistics, ends):
    method = trained(strategy, data_at(0, 1), statistics=statistics)
    one, other = (weights_of(each) for each in method.sites.values())
    kept = begun(site, statistics=statistics).kept()
    assert {re.sub(r".*\.", "", key) for key in kept} == ends
    differing = {key for key in one if not torch.equal(one[key], other[key])}
    assert differing == {key for key in kept if not key.endswith("num_batches_tracked")}  # they took as many steps


@NEEDS_FLOWER
def test_after_fedavg_all_sites_have_one_network():
    method = trained("fedavg", data_at(0, 1))
    assert same(*(weights_of(site) for site in method.sites.values()))
    assert method.predict(TestScan(scans_of(0)[0].image, site=9)).shape == (3, 32, 32)


@NEEDS_FLOWER
@pytest.mark.parametrize(("strategy", "statistics"), [("local", "mean"), ("fedavg", "own")])
def test_a_scan_of_a_site_without_a_network_is_refused(strategy, statistics):
    method = trained(strategy, data_at(0, 2), statistics=statistics)
    with pytest.raises(ValueError, match=f"{strategy} has no network for site 1: no training scan is from there"):
        method.predict(TestScan(scans_of(0)[0].image, site=1))


@NEEDS_FLOWER
def test_blending_leaves_statistics_that_are_the_sites_own():
    site = begun(SelectiveSite, statistics="own", local_steps=2)
    mean = site.weights()
    site.train(mean, 0.0)
    before = {key: value.clone() for key, value in site.net.state_dict().items()}
    site.receive(mean + np.float32(0.1), 0.0)
    after = site.net.state_dict()
    assert site.kept()
    assert all(torch.equal(before[key], after[key]) for key in site.kept())
    encoder = [key for key in site.keys if "encoder" in key.split(".")]
    assert encoder
    assert not any(torch.equal(before[key], after[key]) for key in encoder)


@NEEDS_FLOWER
def test_fedprox_without_weight_is_fedavg_and_with_a_large_one_stays_at_the_mean():
    budget = replace(BUDGET, lr=1e-4, momentum=0.0)
    average, data = trained("fedavg", data_at(0, 1), budget), data_at(0, 1)
    assert same(weights_of(trained("fedprox", data, budget, mu=0.0).sites[0]), weights_of(average.sites[0]))

    def drift(mu):
        site = begun(ProxSite, budget=budget, local_steps=6)
        site.train(site.weights(), mu)
        return sum(float((weight.detach() - site.mean[name]).square().sum()) for name, weight in site.trainable.items())

    assert drift(5e3) < 0.5 * drift(0.0)  # the first step of a round is free, later ones lead back


def test_the_term_of_fedprox_is_half_mu_times_the_squared_distance():
    site = begun(ProxSite)
    site.receive(site.weights(), 0.5)
    with torch.no_grad():
        for number, weight in enumerate(site.trainable.values()):
            weight.flatten()[0] += 2.0 if number < 3 else 0.0
    assert float(site.distance(None).detach()) == pytest.approx(0.5 / 2 * 3 * 2.0**2, rel=1e-4)


@pytest.mark.parametrize(("base", "last"), [("nnunet_style", "heads.1.bias"), ("cam", "classifier.weight")])
def test_heads_of_coarser_maps_and_classifiers_are_last_layers(base, last):
    kept = begun(HeadSite, base=base).kept()
    assert last in kept
    assert any("head" in key.split(".") for key in kept)


# ------------------------------------------------------------------------------------------------------------ blending


def moved_on(cls, **options):
    """A site that has trained a round, and the mean of which its weights differ."""
    site = begun(cls, local_steps=2, **options)
    mean = site.weights()
    site.train(mean, 0.0)
    return site, mean


def blended(site):
    """The weights that are blended, and the others."""
    names = {name for name, _ in site.net.named_parameters() if not {"encoder", "selection"} & set(name.split("."))}
    return names, set(site.keys) - names


def test_a_share_of_0_is_the_mean_and_of_1_the_own_weights(monkeypatch):
    for start in (0.0, 1.0):
        site, mean = moved_on(BlendSite)
        own = {key: value.clone() for key, value in site.net.state_dict().items()}
        monkeypatch.setattr(BlendSite, "start", start)
        monkeypatch.setattr(BlendSite, "descend", lambda *_: 0.0)
        site.receive(mean, 0.0)
        now, fresh = site.net.state_dict(), begun(BlendSite).net.state_dict()
        decoder, others = blended(site)
        assert all(torch.allclose(now[key], (own if start else fresh)[key], atol=1e-7) for key in decoder)
        assert all(torch.equal(now[key], fresh[key]) for key in others)
        assert any(not torch.equal(own[key], fresh[key]) for key in decoder)


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_shares_are_learnt_stay_in_0_to_1_and_are_kept_from_round_to_round(start, monkeypatch):
    site, mean = moved_on(BlendSite)
    monkeypatch.setattr(BlendSite, "start", start)
    site.receive(mean, 0.0)
    assert site.blended == 2 * 3 * BUDGET.batch  # two passes of three batches
    first = {name: value.clone() for name, value in site.own_share.items()}
    assert any((value != start).any() for value in first.values())
    seen, descend = [], BlendSite.descend

    def watched(self, *given):
        probe, given_mean, _ = given
        encoder = {name for name, _ in probe.named_parameters() if name.startswith("encoder.")}
        assert encoder
        assert all(torch.equal(probe.state_dict()[name], given_mean[name]) for name in encoder)
        seen.append({name: value.clone() for name, value in self.own_share.items()})
        return descend(self, *given)

    monkeypatch.setattr(BlendSite, "descend", watched)
    with site.own_random():
        next(site.training)
    site.receive(mean, 0.0)
    assert len(seen) == 3  # one pass: the first blending alone has more
    assert same(seen[0], first)
    assert all(value.min() >= 0 and value.max() <= 1 for value in site.own_share.values())


@pytest.mark.parametrize(("losses", "passes"), [([1.0], 11), ([0.0, 1.0], 30)])
def test_the_first_blending_ends_when_the_losses_of_ten_passes_agree(losses, passes, monkeypatch):
    monkeypatch.setattr(BlendSite, "passes", (11, 30))
    site, mean = moved_on(BlendSite, budget=replace(BUDGET, batch=5))
    given = itertools.cycle(losses)
    passed = []
    monkeypatch.setattr(BlendSite, "descend", lambda *_: passed.append(next(given)) or passed[-1])
    site.receive(mean, 0.0)
    assert len(passed) == passes
    next(site.training)
    site.receive(mean, 0.0)
    assert len(passed) == passes + 1


def test_a_step_of_the_shares_descends_the_loss_on_the_marks():
    """By the chain rule, the gradient by a share is that by its weight, times the distance of the two weights."""
    site, mean = moved_on(BlendSite, budget=replace(BUDGET, lr=0.05))
    site.start, site.passes = 0.5, (1, 1)
    site.receive(mean, 0.0)
    name = "decoder.head.bias"
    site.own_share = {key: torch.full_like(value, 0.5) for key, value in site.own_share.items()}
    new = {key: value.clone() for key, value in begun(BlendSite).net.state_dict().items()}
    torch.manual_seed(1)
    before, rows = site.own_share[name].clone(), np.array([0, 1])
    probe = networks.build("unet", 1, 3).train()
    for layer in probe.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    probe.load_state_dict(new)
    site.descend(probe, new, rows)

    @torch.no_grad()
    def loss(share):
        weights = {key: new[key] + 0.5 * distance for key, distance in site.gap.items()}
        weights[name] = new[name] + share * site.gap[name]
        probe.load_state_dict(weights, strict=False)
        return float(
            partial_cross_entropy(probe(site.method.images[rows]), torch.from_numpy(site.method.allowed[rows]).int())
        )

    for channel in range(3):
        step = torch.zeros(3)
        step[channel] = 0.5
        slope = loss(before + step) - loss(before - step)
        assert float(before[channel] - site.own_share[name][channel]) == pytest.approx(slope, rel=0.05, abs=1e-5)


@pytest.mark.parametrize("place", [0, 1])
def test_the_whole_decoder_is_blended_whatever_a_round_trained_last(place):
    site, mean = moved_on(SelectiveSite)
    site.before_step(place)  # of two steps: the last layers alone, and all but them
    site.receive(mean + np.float32(0.05), 0.0)
    assert {of_head(name) for name, share in site.own_share.items() if (share != 1).any()} == {True, False}


@NEEDS_FLOWER
def test_prediction_changes_no_blending():
    data = data_at(0, 1)
    method = trained("fedala", data)
    before = {key: value.clone() for key, value in weights_of(method.sites[0]).items()}
    assert method.facts["images_blended"] > 0
    shares = {name: value.clone() for name, value in method.sites[0].own_share.items()}
    for scan in data:
        method.predict(TestScan(scan.image, site=scan.site))
    assert same(weights_of(method.sites[0]), before)
    assert same(method.sites[0].own_share, shares)


# --------------------------------------------------------------------------------------------------- channel selection


@pytest.mark.parametrize("name", ["unet", "smp:Unet/resnet18"])
def test_the_selection_is_registered_and_differs_between_sites(name):
    torch.manual_seed(0)
    net = networks.build(f"sites3:{name}", 1, 2)
    keys = {key for key in net.state_dict() if key.startswith("selection.")}
    assert len(keys) == 4
    assert keys <= {key for key, weight in net.named_parameters() if weight.requires_grad}
    image = torch.rand(2, 1, 64, 64)
    net.eval()
    made = []
    for net.selection.site in range(3):
        made.append(net(image))
    assert not torch.equal(made[0], made[1])
    assert not torch.equal(made[1], made[2])


def test_the_selection_is_the_formula():
    torch.manual_seed(0)
    selection, x = networks.Selection(32, 3), torch.randn(2, 32, 4, 4)
    selection.site = 2
    w1, w2, v1, v2 = (
        dict(selection.named_parameters())[f"of_{part}.{n}.weight"] for part in ("site", "map") for n in (0, 2)
    )
    u = w2 @ torch.relu(w1[:, 2])
    for n in range(2):
        gate = [
            v2 @ torch.relu(v1 @ torch.cat([of(x[n].flatten(1)), u])) for of in (lambda m: m.mean(1), lambda m: m.max(1)[0])
        ]
        assert torch.allclose(selection(x)[n], x[n] * (1 + torch.sigmoid(sum(gate)))[:, None, None], atol=1e-6)


def test_the_contrast_is_minus_the_mean_distance_to_all_other_sites_the_first_among_them():
    torch.manual_seed(0)
    selection, x = networks.Selection(32, 3), torch.randn(2, 32, 4, 4)
    for selection.site in range(3):
        selection(x)
        gates = [selection.gates(selection.pooled, site) for site in range(3)]
        others = [gates[site] for site in range(3) if site != selection.site]
        wanted = -sum((gates[selection.site] - other).square().mean() for other in others) / 2
        assert float(selection.contrast().detach()) == pytest.approx(float(wanted.detach()))
        assert float(wanted.detach()) < 0


def test_the_other_sites_gates_are_held_fixed():
    torch.manual_seed(1)
    selection = networks.Selection(128, 2)
    selection(torch.randn(2, 128, 4, 4))
    selection.contrast().backward()
    gradient = selection.of_site[0].weight.grad
    assert gradient[:, 0].any()
    assert not gradient[:, 1].any()


def test_last_layers_learn_alone_in_seven_of_ten_steps_and_the_selection_in_the_others():
    site = begun(SelectiveSite, place=1, local_steps=10, budget=replace(BUDGET, steps=10))
    changed, terms, after = [], [], dict(site.net.named_parameters())
    term = site.contrast
    site.method.terms[:] = [lambda batch: terms.append(term(batch)) or terms[-1]]
    before_step = site.before_step

    def watched(place):
        changed.append({name: weight.detach().clone() for name, weight in after.items()})
        before_step(place)

    site.before_step = watched
    site.train(site.weights(), 0.0)
    watched(0)
    moved = [{name for name in one if not torch.equal(one[name], other[name])} for one, other in itertools.pairwise(changed)]
    heads = {name for name in after if "head" in name.split(".")}
    assert [names <= heads and bool(names) for names in moved] == [True] * 7 + [False] * 3
    assert all(
        not names & heads and {"selection.of_site.0.weight", "selection.of_map.2.weight"} <= names for names in moved[7:]
    )
    assert [bool(value) for value in terms] == [False] * 7 + [True] * 3  # skipped where it has no gradient


@NEEDS_FLOWER
@pytest.mark.parametrize("base", ["mean_teacher", "dmpls"])
def test_other_bases_have_the_selection_too(base):
    method = trained("fedicra", data_at(0, 3), replace(BUDGET, steps=4), base=base)
    for place, site in enumerate(method.sites.values()):
        assert site.selections
        assert {selection.site for selection in site.selections} == {place}
    assert method.predict(TestScan(scans_of(0)[0].image, site=3)).shape == (3, 32, 32)


# ------------------------------------------------------------------------------------------------------ what a base says


def planned(base, strategy="local", sites=2, annotations=("scribble",), **changes):
    options = [
        *TINY,
        "octa_phantom.train=6",
        f"octa_phantom.sites={sites}",
        f"federated.base={base}",
        f"federated.strategy={strategy}",
    ]
    return small_plan(["federated"], options=options, annotations=list(annotations), **changes)


def test_a_plan_leaves_out_what_the_base_does_not_learn_from():
    plan = planned("box_mil", annotations=["scribble", "box", "scribble/box"])
    assert [job.annotation for job in plan.jobs] == ["box"]
    assert plan.jobs[0].reason == "no rotations other than quarter turns, as its loss needs the image's axes"
    named = "federated with base=box_mil"
    assert plan.not_claimed == [(named, "scribble:sim"), (named, "scribble:sim/box")]
    assert [job.annotation for job in planned("pce", annotations=["scribble/box"]).jobs] == ["scribble:sim/box"]


def test_a_plan_refuses_a_network_that_lacks_what_the_base_needs():
    with pytest.raises(InputError, match="federated needs decoder/2, which smp:FPN/resnet18 does not make"):
        planned("nnunet_style", budget=["network=smp:FPN/resnet18", "size=64"])


def test_a_plan_warns_of_what_the_steps_of_a_site_leave_out():
    (said,) = planned("procns", budget=["steps=101"]).warnings
    assert said.startswith("federated: 50 steps leave noise suppression out")
    assert not planned("procns", "pooled", budget=["steps=101"]).warnings


def test_a_method_that_names_others_need_not_ask_for_the_sites(monkeypatch):
    monkeypatch.setattr(Federated, "left_out", lambda self, budget: f"{budget.steps} steps are few")
    assert planned("procns", budget=["steps=101"]).warnings == ["federated: 101 steps are few"]


def test_what_a_base_notes_holds_if_it_holds_at_all_sites():
    one, other = data_of("tags", shapes=((2, 32, 32),)), data_of("tags", shapes=((2, 32, 32),))
    other = other.relabel(lambda scan: np.full_like(scan.allowed, 7))
    scans = [WeakScan(scan.image, scan.allowed, site=site) for site, own in enumerate((one, other)) for scan in own]
    method = trained("local", WeakData(scans, 3, 1), replace(BUDGET, steps=4), base="cam")
    assert [site.method.facts["tags_differ"] for site in method.sites.values()] == [True, False]
    assert worker._facts(method)["notes"] == {"tags_differ": "tags differed between slices"}
    assert method.facts["tags_differ"] is False


# ------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("base", ["prior", "sam", "base", "federated", "nothing", "os.path", "networks"])
def test_another_base_is_refused(base):
    with pytest.raises(InputError, match=f"'{base}' is not a base; it must be a method of this suite that trains a network"):
        plugins.configure(Federated, {"base": base, "strategy": "local"})


def test_without_flower_one_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, find=importlib.util.find_spec: None if name == "flwr" else find(name)
    )
    with pytest.raises(InputError, match=r"Flower is not installed; pip install 'weakseg-bench\[federated\]' installs it"):
        plugins.configure(Federated, {"strategy": "fedbn"})


@pytest.mark.parametrize(
    "options",
    [
        {"local_steps": 0},
        {"blend": 0.0},
        {"blend": 1.5},
        {"mu": -1.0},
        {"strategy": "fedsgd"},
        {"strategy": "fedicra", "local_steps": 1},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(InputError):
        plugins.configure(Federated, {"strategy": "local", **options})


def test_a_base_that_learns_from_labels_refuses_boxes():
    with pytest.raises(ValueError, match="gated_crf learns from labels, but a pixel here has several classes"):
        trained("local", data_of("box"), base="gated_crf")
