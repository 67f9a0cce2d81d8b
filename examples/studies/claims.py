"""What the studies say of each claim of the three papers, with the numbers of their JSON files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroport.files import read_json

STUDIES = (
    *("gradients", "depth", "converged", "dormant", "levels", "spikes", "equal", "isometry"),
)
SHOWN, PARTLY = "shown here", "partly shown here"
NOT_SHOWN, CONTRADICTED = "not shown here", "contradicted here"
UNTESTABLE = "not testable here"
OUTCOMES = (SHOWN, PARTLY, NOT_SHOWN, CONTRADICTED, UNTESTABLE)


@dataclass(frozen=True)
class Claim:
    """A claim of a paper; ``finding`` holds places for numbers, ``{study:row:key}``."""

    paper: str
    claim: str
    outcome: str
    finding: str


CLAIMS = (
    Claim(
        "MS-ResNet",
        "block dynamical isometry: gradients neither vanish nor explode with depth",
        PARTLY,
        "at initialization {gradients:ms-482:decades:2} decades between first and last block of "
        "482 layers; but with the last norms of branches at 0.5 instead of 0 it is "
        "{gradients:ms-opened-482:decades:2}. After training, phi is {isometry:ms-20:phi_4:3} with "
        "20 layers, {isometry:ms-110:phi_4:3} with 110 (variance {isometry:ms-20:variance_4:3}, "
        "{isometry:ms-110:variance_4:3}), so blocks stay nearly isometric; yet the gradient grows "
        "by {isometry:ms-20:growth_4:1} and {isometry:ms-110:growth_4:1} decades, where phi "
        "predicts {isometry:ms-20:predicted_4:2} and {isometry:ms-110:predicted_4:2}",
    ),
    Claim(
        "MS-ResNet",
        "no degradation with depth, up to 482 layers on CIFAR-10",
        PARTLY,
        "in 4 epochs {depth:ms-20:accuracy:1} % with 20 layers, {depth:ms-110:accuracy:1} % with "
        "110. In 20 epochs {converged:ms-20:accuracy:1}, {converged:ms-110:accuracy:1} and, with "
        "482 layers, {converged:ms-482:accuracy:1} %, yet the training loss grows: "
        "{converged:ms-20:loss:3}, {converged:ms-110:loss:3} and {converged:ms-482:loss:3} (plain: "
        "{converged:plain-110:accuracy:1} % with 110 layers)",
    ),
    Claim(
        "MS-ResNet",
        "about one spike per neuron and sample",
        SHOWN,
        "{spikes:ms-20:spikes_per_neuron:2} with 20 layers, {spikes:ms-110:spikes_per_neuron:2} "
        "with 110; but every other family has {spikes:least} to {spikes:most}",
    ),
    Claim(
        "MS-ResNet",
        "3.3 to 5.3 times less energy than an artificial network, by 45 nm arithmetic",
        NOT_SHOWN,
        "the published formula omits the multiplications of membrane shortcuts; for our "
        "MS-ResNet-20 they are {energy:shortcuts} % of the energy by the same constants",
    ),
    Claim(
        "MS-ResNet",
        "76.02 % on ImageNet with 104 layers",
        UNTESTABLE,
        "neither ImageNet nor published weights are at hand; with weights copied, logits equal "
        "those of the published code",
    ),
    Claim(
        "MLF + DS-ResNet",
        "several levels leave fewer neurons dormant",
        PARTLY,
        "never firing: {dormant:ds1-20:dormant:1%} % with one level, {dormant:ds3-20:dormant:1%} % "
        "with three; without gradient: {dormant:ds1-20:blocked:1%} and "
        "{dormant:ds3-20:blocked:1%} %",
    ),
    Claim(
        "MLF + DS-ResNet",
        "several levels classify better",
        PARTLY,
        "with one to four levels of 20 layers {levels:ds1-20:accuracy:1}, "
        "{levels:ds2-20:accuracy:1}, {levels:ds3-20:accuracy:1} and {levels:ds4-20:accuracy:1} %; "
        "of 56 layers {levels:ds1-56:accuracy:1}, {levels:ds2-56:accuracy:1}, "
        "{levels:ds3-56:accuracy:1} and {levels:ds4-56:accuracy:1} %; in vanilla blocks of 56 "
        "layers {levels:vanilla1-56:accuracy:1} with one and {levels:vanilla4-56:accuracy:1} with "
        "four",
    ),
    Claim(
        "MLF + DS-ResNet",
        "networks can be deep without degradation",
        SHOWN,
        "with three levels and 20 epochs {converged:ds3-20:accuracy:1} % with 20 layers, "
        "{converged:ds3-110:accuracy:1} % with 110, the loss within its spread "
        "({converged:ds3-20:loss:3}, {converged:ds3-110:loss:3}); the vanilla blocks, as a "
        "control, fall to {converged:vanilla3-110:accuracy:1} %. It takes the training: in 4 "
        "epochs 110 layers reach {depth:ds3-110:accuracy:1} %. Gradients at initialization stay "
        "within {gradients:ds3-482:decades:2} decades",
    ),
    Claim(
        "MLF + DS-ResNet",
        "accuracies on CIFAR-10, DVS Gesture and CIFAR10-DVS",
        UNTESTABLE,
        "the data sets are not at hand; recipes with the published settings are shipped",
    ),
    Claim(
        "DANet",
        "densely additive connections are better than other shortcuts",
        CONTRADICTED,
        "the best of our readings reaches {equal:da-spike-network-20:accuracy:1} %, MS-ResNet of "
        "equal size {equal:ms-20:accuracy:1} %",
    ),
    Claim(
        "DANet",
        "four new architectures",
        NOT_SHOWN,
        "in our reading of the abstract, one equals SEW-ADD and one MS-ResNet with projections of "
        "spikes, with difference 0.0 when weights are copied",
    ),
    Claim(
        "DANet",
        "77.22 % on ImageNet with 152 layers, 13.24 points more than before",
        UNTESTABLE,
        "ImageNet is not at hand, and no code or recipe is published",
    ),
)


def claims_table(folder: Path) -> str:
    """A row for each claim, with the numbers that the JSON files of ``folder`` hold."""
    found = {study: read_json(folder / f"{study}.json")["summary"] for study in STUDIES}
    energy = read_json(folder.parent / "energy.json")["networks"]["ms_resnet20_mnist"]["energy"]
    lines = ["| paper | claim | | finding |", "|---|---|---|---|"]
    for one in CLAIMS:
        parts = one.finding.split("{")
        text = parts[0] + "".join(
            _number(place, found, energy["estimates"]) + rest
            for place, rest in (part.split("}", 1) for part in parts[1:])
        )
        lines.append(f"| {one.paper} | {one.claim} | **{one.outcome}** | {text} |")
    return "\n".join(lines)


def _number(place: str, found: dict[str, Any], estimates: dict[str, Any]) -> str:
    study, *rest = place.split(":")
    if study == "energy":
        whole = estimates["arithmetic_45nm_nj"]["value"]
        without = estimates["arithmetic_45nm_without_shortcuts_nj"]["value"]
        return f"{100 * (1 - without / whole):.0f}"
    if len(rest) == 1:  # of all other families
        means = [
            row["spikes_per_neuron"]["mean"]
            for row in found[study].values()
            if row["network"] != "ms"
        ]
        return f"{(min if rest[0] == 'least' else max)(means):.1f}"
    row, key, digits = rest
    factor = 100 if digits.endswith("%") else 1
    number = found[study][row][key]
    mean, deviation = (f"{factor * number[k]:.{digits[0]}f}" for k in ("mean", "deviation"))
    return mean if found[study][row]["seeds"] == 1 else f"{mean} ± {deviation}"
