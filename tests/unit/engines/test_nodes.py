import pytest

from openbatchai.domain.ports import NodeRequest, NoRoomError
from openbatchai.engines.layout import Layout
from openbatchai.engines.machine import Machine
from openbatchai.engines.nodes import Nodes


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    layout.create()
    return layout


def nodes(layout, cpus=8, gpus=0):
    return Nodes(layout, Machine(tuple(range(cpus)), tuple(range(gpus)), 2**30))


def test_each_gpu_belongs_to_one_node_at_a_time(layout):
    ours = nodes(layout, gpus=4)

    ours.provision([NodeRequest(name, 1, 2) for name in "ab"])

    assert {*ours.find("a").gpus, *ours.find("b").gpus} == {0, 1, 2, 3}


def test_a_node_that_needs_more_gpus_than_are_free_is_not_made(layout):
    ours = nodes(layout, gpus=3)
    ours.provision([NodeRequest("a", 1, 2)])

    with pytest.raises(NoRoomError, match=r"needs 2 GPUs and 1 of this machine's 3 are free; .* belong to a"):
        ours.provision([NodeRequest("b", 1, 2)])

    assert ours.find("b") is None
    ours.remove("a")
    assert ours.provision([NodeRequest("b", 1, 2)])[0].gpus == 2


def test_a_size_with_more_gpus_than_the_machine_gets_all(layout):
    (fact,) = nodes(layout, gpus=2).provision([NodeRequest("a", 1, 4)])

    assert fact.gpus == 2
    assert "the size has 4 GPUs, this machine 2" in fact.note


def test_the_size_of_this_machine_has_all_of_it(layout):
    ours = nodes(layout, cpus=4, gpus=2)

    (fact,) = ours.provision([NodeRequest("a", 0, 0, whole_machine=True)])

    assert (fact.cores, fact.gpus, fact.note) == (4, 2, "")
    assert ours.find("a").cpus is None
    with pytest.raises(NoRoomError):
        ours.provision([NodeRequest("b", 0, 0, whole_machine=True)])


def test_gpus_of_a_released_node_can_be_had_again(layout):
    ours = nodes(layout, gpus=1)
    ours.provision([NodeRequest("a", 1, 1)])

    ours.remove("a")

    (fact,) = ours.provision([NodeRequest("b", 1, 1)])
    assert fact.gpus == 1
    assert fact.note == ""


def test_a_gpu_size_comes_up_on_a_machine_without_any(layout):
    (fact,) = nodes(layout).provision([NodeRequest("a", 6, 1)])

    assert fact.gpus == 0
    assert "this machine none" in fact.note


def test_nodes_that_fit_side_by_side_have_cpus_of_their_own(layout):
    ours = nodes(layout, cpus=4)

    ours.provision([NodeRequest(name, 2, 0) for name in "abc"])

    assert [ours.find(name).cpus for name in "abc"] == [(0, 1), (2, 3), None]


def test_a_node_as_large_as_the_machine_shares_it(layout):
    ours = nodes(layout, cpus=2)

    (fact,) = ours.provision([NodeRequest("a", 6, 0)])

    assert ours.find("a").cpus is None
    assert fact.cores == 2


def test_nodes_are_the_same_after_a_restart(layout):
    requests = [NodeRequest(f"tvm-{n}", 1, 0) for n in range(300)]
    before = nodes(layout).provision(requests)

    after = nodes(layout).provision(requests)

    assert after == before
    assert len({fact.address for fact in after}) == 300


def test_an_address_is_given_again_only_after_release(layout):
    ours = nodes(layout)
    first, second = ours.provision([NodeRequest("a", 1, 0), NodeRequest("b", 1, 0)])

    ours.remove("a")

    (third,) = ours.provision([NodeRequest("c", 1, 0)])
    assert third.address == first.address != second.address
