"""The trie: where things lie, and who stands on whom."""

from pathlib import Path

from layerwise.study.trie import Node, dataset_folder, home, prefixes


def node(path: str) -> Node:
    return Node("quick", "digits", 3, path)


def test_a_node_lies_below_its_parent():
    assert node("a/b+c").folder == Path("results/quick/networks/digits/seed3/a/b+c")
    assert node("a/b+c").parent == node("a")
    assert node("a/b+c").folder.parent == node("a").folder
    assert node("a").parent is None


def test_the_data_set_is_the_root():
    assert dataset_folder("quick", "digits") == home("quick") / "datasets" / "digits"
    assert node("a").source == dataset_folder("quick", "digits")
    assert node("a/b").source == node("a").folder


def test_a_node_knows_its_segment_depth_and_lineage():
    assert (node("a/b+c").segment, node("a").segment) == ("b+c", "a")
    assert [node(p).depth for p in ("a", "a+b", "a/b", "a/b/c")] == [1, 1, 2, 3]
    assert node("a/b/c").lineage == [node("a"), node("a/b"), node("a/b/c")]
    assert str(node("a/b")) == "digits/seed3/a/b"


def test_nodes_are_keys_and_can_be_sorted():
    assert node("a") == node("a")
    assert len({node("a"), node("a"), node("b")}) == 2
    assert sorted([node("b"), node("a")]) == [node("a"), node("b")]


def test_prefixes_come_parents_first():
    assert prefixes("a/b+c/d") == ["a", "a/b+c", "a/b+c/d"]
    assert prefixes("a") == ["a"]
