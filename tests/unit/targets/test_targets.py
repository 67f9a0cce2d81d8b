"""Chips and boards as TOML: every value has a source, and a file that lacks one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroport.errors import NeuroportWarning, TargetError
from neuroport.graph.node import KINDS
from neuroport.targets.target import BEFORE, CONFIDENCE, KEYS, load_chip, load_target, names
from tests.helpers.distribution import distribution

MINE = """\
summary = "a chip of mine"
base = "loihi2"

[cores]
value = 3
source = "my data sheet"
confidence = "seen"
"""


def written(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(TargetError) as caught:
        load_target(written(folder, text))
    return caught.value.message


def test_every_value_of_every_shipped_target_has_a_source_and_a_confidence() -> None:
    assert set(names()) == {
        *("lava-cpu", "loihi1", "loihi2", "oheo-gulch", "kapoho-point", "vpx", "alia-point"),
        "hala-point",
    }
    for name in names():
        target = load_target(name)
        assert set(target.values) == set(KEYS)
        assert all(
            value.source and value.confidence in CONFIDENCE for value in target.values.values()
        )


def test_boards_are_their_chip_times_a_number() -> None:
    sizes = {name: load_target(name).limit("chips") for name in names()}
    assert sizes == {
        "lava-cpu": None,
        "loihi1": 1,
        "loihi2": 1,
        "oheo-gulch": 1,
        "kapoho-point": 8,
        "vpx": 16,
        "alia-point": 32,
        "hala-point": 1152,
    }
    assert load_target("vpx").capacity == 16 * 120
    assert load_target("vpx")["neurons"] == load_target("loihi2")["neurons"]


def test_a_users_file_overrides_what_it_names_and_keeps_the_rest(tmp_path: Path) -> None:
    target = load_target(written(tmp_path, MINE))
    assert target["cores"] == 3
    assert target.values["cores"].source == "my data sheet"
    assert target["neurons"] == load_target("loihi2")["neurons"]


def test_a_base_may_be_a_file_beside_the_users(tmp_path: Path) -> None:
    written(tmp_path, MINE, "chip.toml")
    board = 'summary = "four of them"\nbase = "chip.toml"\n[chips]\nvalue = 4\n'
    path = written(tmp_path, board + 'source = "mine"\nconfidence = "seen"\n', "board.toml")
    assert load_target(path).capacity == 12


def test_none_is_a_limit_that_nobody_published() -> None:
    assert load_target("loihi1").limit("memory_words") is None


def test_the_simulator_is_a_target_without_cores_and_with_every_kind_of_neuron() -> None:
    found = load_target("lava-cpu")
    assert names()[0] == "lava-cpu"
    assert (found.is_chip, found.capacity) == (False, 0)
    assert found.has_neuron("a kind that nobody has thought of")
    assert not load_target("loihi2").has_neuron("a kind that nobody has thought of")
    with pytest.raises(TargetError, match="lava-cpu has no cores; name a chip or board such as"):
        load_chip("lava-cpu")


def test_a_simulator_of_ones_own_needs_no_chips_and_no_cores(tmp_path: Path) -> None:
    entry = 'value = "none"\nsource = "mine"\nconfidence = "seen"\n'
    text = f'summary = "mine"\nbase = "loihi2"\n[cores]\n{entry}[chips]\n{entry}'
    assert not load_target(written(tmp_path, text)).is_chip


@pytest.mark.parametrize("part", ["value", "source", "confidence"])
def test_a_value_without_one_of_its_parts_is_refused_by_name(tmp_path: Path, part: str) -> None:
    lines = [line for line in MINE.splitlines() if not line.startswith(part)]
    message = refusal(tmp_path, "\n".join(lines))
    assert message.startswith(f"{tmp_path / 'mine.toml'}: cores has no {part}; say ")


def test_without_a_base_every_missing_key_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path, MINE.replace('base = "loihi2"\n', ""))
    assert "chips is missing" in message
    assert all(key in message for key in KEYS if key not in ("cores", *BEFORE))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"my data sheet"', '" "', "cores has no source"),
        ('"seen"', '"sure"', "confidence of cores is 'sure'; use seen,"),
        ('"seen"', '["seen"]', "confidence of cores is ['seen']; use seen,"),
        ('"seen"', "{ seen = 1 }", "confidence of cores is {'seen': 1}; use seen,"),
        ("value = 3", "value = 0", "cores is 0; it must be a whole number"),
        ("value = 3", "value = true", "cores is True; it must be a whole number"),
        ("value = 3", 'value = "none"', "cores is 'none'; it must be a whole number"),
        ("[cores]", "[corse]", "unknown key 'corse'; did you mean 'cores'?"),
        ("value = 3", "value = 3\nunit = 1", "cores has an unknown part 'unit'"),
        ("value = 3", "value == 3", "not TOML"),
        ('"loihi2"', '"loihi9"', "unknown target 'loihi9'; the targets are lava-cpu, "),
        ('"loihi2"', '"mine.toml"', "leads back to itself"),
        ('"loihi2"', "2", "base is 2"),
        ('summary = "a chip of mine"\n', "", "summary is missing"),
        ("[cores]\nvalue = 3\nsource", "cores = 3\n[x]\nsource", "cores is 3; make it a table"),
    ],
)
def test_a_wrong_file_is_refused_with_one_sentence(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in MINE
    message = refusal(tmp_path, MINE.replace(old, new))
    assert said in message
    assert "\n" not in message


def test_a_missing_file_and_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"absent\.toml"):
        load_target(tmp_path / "absent.toml")
    (tmp_path / "raw.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(TargetError, match="not text"):
        load_target(tmp_path / "raw.toml")


def test_the_page_lists_every_key_every_target_and_an_example_that_loads(
    tmp_path: Path, root: Path
) -> None:
    page = (root / "docs" / "targets.md").read_text()
    for key, (kind, meaning) in KEYS.items():
        assert f"| `{key}` | {kind} | {meaning} |" in page
    for name in names():
        assert f"| `{name}` | {load_target(name).summary} |" in page
    for confidence, meaning in CONFIDENCE.items():
        assert f"* `{confidence}`: {meaning}" in page
    example = page.split("```toml\n")[1].split("```")[0]
    assert load_target(written(tmp_path, example)).capacity == 3 * 120


def added(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, **files: str) -> None:
    """A package of another author with these targets, which can be imported from now on."""
    sources = {f"{name}_boards/__init__.py": ""}
    sources |= {
        f"{name}_boards/{file.replace('_', '-')}.toml": text for file, text in files.items()
    }
    entries = f"[neuroport.targets]\n{name} = {name}_boards\n"
    monkeypatch.syspath_prepend(str(distribution(folder / name, entries, sources, name)))


def test_the_base_of_a_packages_target_is_looked_for_beside_it_and_never_where_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rack = MINE.replace('base = "loihi2"', 'base = "mine-chip.toml"')
    added(tmp_path, monkeypatch, "beside", mine_chip=MINE, rack=rack)
    (here := tmp_path / "here").mkdir()
    written(here, MINE.replace("value = 3", "value = 77"), "mine-chip.toml")
    monkeypatch.chdir(here)
    assert load_target("rack").values["cores"].value == 3
    assert load_target("mine-chip").capacity == 3


def test_targets_of_packages_that_clash_spoil_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = load_target("loihi2")
    added(tmp_path, monkeypatch, "first", loihi2=MINE, shared=MINE, broken="summary = 3")
    added(tmp_path, monkeypatch, "second", shared=MINE, alone=MINE)
    with pytest.warns(NeuroportWarning, match="'loihi2' in .* is ignored: neuroport has one"):
        assert load_target("loihi2") == own
    with pytest.warns(NeuroportWarning) as told:
        listed = names()
    assert "alone" in listed
    assert not {"shared", "broken"} & set(listed)
    said = " ".join(str(each.message) for each in told)
    assert "broken: summary is missing" in said
    with (
        pytest.warns(NeuroportWarning),
        pytest.raises(TargetError, match=r"'shared' is in .*_boards.* and in .*_boards"),
    ):
        load_target("shared")


def test_a_chip_may_delay_by_nothing_and_numbers_tell_their_range(tmp_path: Path) -> None:
    def with_value(key: str, value: str) -> str:
        return f'{MINE}[{key}]\nvalue = {value}\nsource = "a"\nconfidence = "seen"\n'

    assert load_target(written(tmp_path, with_value("delay", "0"))).limit("delay") == 0
    said = refusal(tmp_path, with_value("kernel", "0"))
    assert "kernel is 0; it must be a whole number or none, 1 or more" in said
    said = refusal(tmp_path, with_value("neuron_kinds", '["any", "lif"]'))
    assert "neuron_kinds is" in said


def test_kinds_of_neurons_are_those_that_there_are(tmp_path: Path) -> None:
    def listing(*kinds: str) -> str:
        return f'{MINE}[neuron_kinds]\nvalue = {list(kinds)}\nsource = "a"\nconfidence = "seen"\n'

    target = load_target(written(tmp_path, listing("lif", "alif")))
    assert target.has_neuron("alif")
    assert not target.has_neuron("relay")
    said = refusal(tmp_path, listing("lif", "liff"))
    assert "neuron_kinds lists 'liff', which is no kind of neuron here; did you mean 'lif'?" in said
    assert "conv" not in refusal(tmp_path, listing("conv")).partition("known: ")[2]


def test_kinds_of_installed_packages_may_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (Path(__file__).parents[2] / "kinds" / "soft_lif.py").read_text()
    folder = distribution(
        tmp_path / "site",
        "[neuroport.kinds]\ntheirlif = their_kinds:SoftLif\nbroken = their_kinds:missing\n",
        {"their_kinds.py": source.replace('@kind("softlif"', '@kind("theirlif"')},
    )
    monkeypatch.syspath_prepend(str(folder))
    try:
        text = f'{MINE}[neuron_kinds]\nvalue = ["KIND"]\nsource = "a"\nconfidence = "seen"\n'
        target = load_target(written(tmp_path, text.replace("KIND", "theirlif")))
        assert target.has_neuron("theirlif")
        assert "lists 'broken': " in refusal(tmp_path, text.replace("KIND", "broken"))
    finally:
        KINDS.pop("theirlif", None)
