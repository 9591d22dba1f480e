"""The fraction of a step's time spent in each network, including backward passes, by profiling."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

_PREFIX = "network "
_BACKWARD = "autograd::engine::evaluate_function"


@contextmanager
def labelled(networks: Mapping[str, nn.Module]) -> Iterator[None]:
    """Marks the operations of each network: its own call, and calls of its children."""
    handles = []
    for name, network in networks.items():
        for module in (network, *network.children()):
            open_marks: list[Any] = []

            def enter(*_: Any, name: str = name, marks: list[Any] = open_marks) -> None:
                marks.append(record_function(_PREFIX + name))
                marks[-1].__enter__()

            def leave(*_: Any, marks: list[Any] = open_marks) -> None:
                marks.pop().__exit__(None, None, None)

            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def shares(work: Callable[[], Any], networks: Mapping[str, nn.Module], *, device: str) -> str:
    """Profiles ``work`` and returns the fraction of its time spent in each network.

    A backward step belongs to the network whose forward step has the same sequence number; so does
    a step of a backward pass that was itself differentiated (R1).

    Returns:
        ``"E 31 %, G 20 %, …"``, in descending order. "rest" is losses, Adam and the program itself.
    """
    activities = [ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with labelled(networks), profile(activities=activities) as profiler:
        work()
    spent = _by_network(profiler.events() or [], device=device)
    total = sum(spent.values())
    parts = [f"{name} {100 * value / total:.0f} %" for name, value in spent.most_common()]
    return ", ".join(parts)


def _by_network(events: Any, *, device: str) -> Counter[str]:
    events = sorted(events, key=lambda event: event.time_range.start)
    made_by: dict[int, str] = {}  # sequence number -> the network whose step made the node
    spent: Counter[str] = Counter()
    for event in events:
        owner = _owner(event, made_by)
        if event.sequence_nr >= 0 and not event.name.startswith(_BACKWARD):
            made_by.setdefault(event.sequence_nr, owner)
        time = event.self_cpu_time_total if device == "cpu" else event.self_device_time_total
        spent[owner] += time
    return spent


def _owner(event: Any, made_by: Mapping[int, str]) -> str:
    outermost = "rest"
    while event is not None:
        if event.name.startswith(_PREFIX):
            outermost = event.name.removeprefix(_PREFIX)
        elif event.name.startswith(_BACKWARD):
            return made_by.get(event.sequence_nr, "rest")
        event = event.cpu_parent
    return outermost
