"""Files made to run code: each would, in some reader; here each is refused by its global's name."""

import codecs
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

from . import assembler as a

Files = Iterator[tuple[str, bytes]]


class _Reduces:
    """Pickles as any call."""

    def __init__(self, *call) -> None:
        self.call = call

    def __reduce__(self):
        return self.call


def attacks(canary: Path) -> Files:
    """Name and content of every file; one that runs would write ``canary``."""
    touch = f"touch {canary}"
    source = f"open({str(canary)!r}, 'w').write('x')"
    yield from _calls(touch, source)
    yield from _around_the_list(touch, source)
    yield from _inside_what_is_allowed(touch, source)
    yield from _in_containers(touch, source)


def _calls(touch: str, source: str) -> Files:
    for protocol in range(6):
        yield (
            f"os.system, protocol {protocol}",
            pickle.dumps(_Reduces(os.system, (touch,)), protocol),
        )
    for module in ("posix", "nt", "os"):
        yield f"{module}.system by name", a.proto(a.call(a.name(module, "system"), a.text(touch)))
    for module in ("builtins", "__builtin__"):
        for function in ("eval", "exec", "compile", "open", "__import__", "getattr", "map", "type"):
            called = a.call(a.name(module, function), a.text(source))
            yield f"{module}.{function}", a.proto(called)
    for path in (
        "subprocess.Popen", "subprocess.check_output", "os.popen", "os.execv", "os.putenv",
        "shutil.rmtree", "runpy.run_path", "importlib.import_module", "code.interact", "pty.spawn",
        "pickle.loads", "_pickle.loads", "marshal.loads", "types.FunctionType", "types.CodeType",
        "functools.partial", "functools.reduce", "operator.attrgetter", "operator.methodcaller",
        "webbrowser.open", "socket.socket", "ctypes.CDLL", "numpy.load", "numpy.memmap",
        "numpy.testing._private.utils.runstring", "torch.load", "torch.hub.load", "torch.jit.load",
        "torch.serialization.load", "torch._utils._import_dotted_name", "torch.ops.load_library",
        "torch._inductor.codecache.compile_file", "dnnlib.util.get_obj_by_name",
        "dnnlib.util.call_func_by_name", "cloudpickle.loads", "imp.load_source",
        "torch_utils.persistence.import_hook", "idinvert.cli.train.main", "sys.exit",
        "idinvert.checkpoints.release.load_network",
    ):  # fmt: skip
        module, _, function = path.rpartition(".")
        yield path, a.proto(a.call(a.name(module, function), a.text(touch)))


def _around_the_list(touch: str, source: str) -> Files:
    system = a.name("os", "system")
    run = a.call(system, a.text(touch))
    yield "STACK_GLOBAL", a.proto(a.call(a.stacked("os", "system"), a.text(touch)), 4)
    yield "dotted name", a.proto(a.call(a.stacked("collections", "abc.sys.modules"), a.text("os")))
    yield "dotted allowed", a.proto(a.call(a.stacked("torch", "serialization.load"), a.text(touch)))
    yield (
        "name of an allowed class",
        a.proto(a.call(a.stacked("collections", "OrderedDict.__init__.__globals__"), a.text("x"))),
    )
    yield "module with a newline", a.proto(a.call(a.stacked("os\nsystem", "x"), a.text(touch)))
    yield "names that are no text", a.proto(a.number(1) + a.data(b"system") + b"\x93")
    yield "unicode look-alike", a.proto(a.call(a.stacked("оs", "system"), a.text(touch)))
    yield "INST", b"(" + a.text(touch) + b"ios\nsystem\n" + a.STOP
    yield "OBJ", b"(" + system + a.text(touch) + b"o" + a.STOP
    yield "NEWOBJ of a function", a.proto(system + a.tuple_of(a.text(touch)) + a.NEWOBJ)
    yield "NEWOBJ_EX", a.proto(system + a.tuple_of(a.text(touch)) + a.EMPTY_DICT + b"\x92", 4)
    made = system + a.EMPTY_TUPLE + a.NEWOBJ
    parts = {"_parameters": a.EMPTY_DICT, "_modules": a.EMPTY_DICT}
    yield "a class alone", a.proto(a.dict_of({"g": system}))
    yield "call without arguments", a.proto(a.call(a.name("os", "getcwd")))
    yield "object of no module", a.proto(made)
    yield "object of another state", a.proto(made + a.dict_of({"a": a.NONE}) + a.BUILD)
    yield "object that is filled", a.proto(made + a.text("a") + a.NONE + b"s")
    for part in parts:
        state = a.dict_of({**parts, part: run})
        yield f"module with a call as {part}", a.proto(made + state + a.BUILD)
    state = a.dict_of({**parts, "_parameters": a.dict_of({"weight": made})})
    yield "module with an object as a parameter", a.proto(made + state + a.BUILD)
    names = b"".join(a.name(f"m{i}", "C") + b"0" for i in range(600))
    yield "600 classes", a.proto(names + a.EMPTY_DICT)
    yield "module state onto a class", a.proto(system + a.dict_of(parts) + a.BUILD)
    for code in (b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"):
        yield f"EXT of {len(code) - 1}", a.proto(code)
    yield (
        "copyreg.add_extension",
        a.proto(
            a.call(a.name("copyreg", "add_extension"), a.text("os"), a.text("system"), a.number(1))
        ),
    )
    yield (
        "copyreg._reconstructor",
        a.proto(
            a.call(
                a.name("copyreg", "_reconstructor"), system, a.name("builtins", "object"), a.NONE
            )
        ),
    )
    yield (
        "copyreg.__newobj__",
        a.proto(a.call(a.name("copyreg", "__newobj__"), system, a.text(touch))),
    )
    yield "copyreg of subprocess.Popen", a.proto(
        a.name("copyreg", "__newobj__")
        + a.tuple_of(a.name("subprocess", "Popen"), a.text(touch)) + a.REDUCE
    )  # fmt: skip
    yield "persistent id in text", a.proto(b"Pos.system\n")
    yield "persistent id of a call", a.proto(run + b"Q")
    yield "persistent id without a reader", a.proto(a.storage(numel=1))
    yield "memo: callee swapped", a.proto(
        a.name("collections", "OrderedDict") + b"q\x00" + b"0" + system + b"q\x00" + b"0"
        + b"h\x00" + a.tuple_of(a.text(touch)) + a.REDUCE
    )  # fmt: skip
    yield "memo: never stored", a.proto(b"h\x07" + a.EMPTY_TUPLE + a.REDUCE)
    yield "memo: huge index", a.proto(a.NONE + b"r\xff\xff\xff\xff" + b"j\xfe\xff\xff\xff")
    yield "memo: negative index", a.proto(a.NONE + b"p-1\n" + b"0" + b"g-2\n")
    yield (
        "reduce chain",
        a.proto(
            a.call(a.call(a.name("builtins", "getattr"), a.name("os", "path"), a.text("os")), run)
        ),
    )
    yield "reduce of a value", a.proto(a.call(a.text("os.system"), a.text(touch)))
    yield "reduce of a list", a.proto(a.call(a.EMPTY_LIST, a.text(touch)))
    yield (
        "reduce without a tuple",
        a.proto(a.name("collections", "OrderedDict") + a.EMPTY_LIST + b"R"),
    )
    yield (
        "build onto a name",
        a.proto(a.name("collections", "OrderedDict") + a.dict_of({"__call__": a.NONE}) + a.BUILD),
    )
    yield "build onto a dict", a.proto(a.EMPTY_DICT + a.dict_of({"a": a.NONE}) + a.BUILD)
    yield "build onto a list", a.proto(a.EMPTY_LIST + a.dict_of({"__class__": a.NONE}) + a.BUILD)
    yield "set item of a name", a.proto(a.name("torch", "Tensor") + a.text("a") + a.NONE + b"s")
    yield "append to a name", a.proto(a.name("torch", "Tensor") + a.NONE + b"a")
    yield "out-of-band buffer", a.proto(b"\x97", 5)
    yield "two pickles", a.proto(a.NONE) + a.proto(run)
    yield "code behind STOP", a.proto(a.EMPTY_DICT) + source.encode()
    yield (
        "latin-1 trick",
        a.proto(
            a.call(
                a.name("_codecs", "encode"), a.text(codecs.encode(source, "rot13")), a.text("rot13")
            )
        ),
    )
    yield "_codecs.lookup", a.proto(a.call(a.name("_codecs", "lookup"), a.text("idna")))


def _inside_what_is_allowed(touch: str, source: str) -> Files:
    run = a.call(a.name("os", "system"), a.text(touch))
    rebuild = a.name("torch._utils", "_rebuild_tensor_v2")
    ordered, default = a.name("collections", "OrderedDict"), a.name("collections", "defaultdict")
    yield "OrderedDict of a call", a.proto(a.call(ordered, run))
    yield "OrderedDict of no pairs", a.proto(a.call(ordered, a.EMPTY_LIST[:0] + a.text("ab")))
    yield "defaultdict of a function", a.proto(a.call(default, a.name("os", "system")))
    yield "defaultdict of eval", a.proto(a.call(default, a.name("builtins", "eval")))
    yield (
        "Namespace with a state that is none",
        a.proto(a.name("argparse", "Namespace") + a.EMPTY_TUPLE + a.NEWOBJ + a.text("x") + a.BUILD),
    )
    yield "Namespace holding a call", a.proto(
        a.name("argparse", "Namespace") + a.EMPTY_TUPLE + a.NEWOBJ
        + a.dict_of({"size": run}) + a.BUILD
    )  # fmt: skip
    yield "hooks that are a call", a.proto(a.call(rebuild, *[a.NONE] * 5, run))
    yield "tensor without a storage", a.proto(a.call(rebuild, *[a.NONE] * 6))
    typed = a.name("torch._tensor", "_rebuild_from_type_v2")
    yield "rebuild with another function", a.proto(
        a.call(typed, a.name("os", "system"), a.name("torch", "Tensor"), a.tuple_of(a.text(touch)),
               a.EMPTY_DICT)
    )  # fmt: skip
    yield "rebuild with a nested load", a.proto(
        a.call(typed, a.name("torch.storage", "_load_from_bytes"), a.name("torch", "Tensor"),
               a.tuple_of(a.data(a.proto(run))), a.EMPTY_DICT)
    )  # fmt: skip
    meta = {
        "type": a.text("class"),
        "class_name": a.text("Generator"),
        "module_src": a.text(source),
    }
    persistent = a.name("torch_utils.persistence", "_reconstruct_persistent_obj")
    yield (
        "persistent object with a call as state",
        a.proto(a.call(persistent, a.dict_of({**meta, "state": run}))),
    )
    yield (
        "persistent object that is a module",
        a.proto(
            a.call(persistent, a.dict_of({**meta, "type": a.text("module"), "state": a.EMPTY_DICT}))
        ),
    )
    yield "persistent object without a state", a.proto(a.call(persistent, a.dict_of(meta)))
    for protocol, inner in (("raw", a.proto(run)), ("stream", a.legacy(a.proto(run)))):
        yield f"nested {protocol}", a.proto(a.nested(inner))
    yield "nested zip", a.proto(a.nested(a.torch_zip(a.proto(run))))
    yield "nested in nested", a.proto(a.nested(a.legacy(a.proto(a.nested(a.legacy(a.proto(run)))))))
    yield (
        "nested system info",
        a.proto(
            a.nested(a.LEGACY_MAGIC + a.proto(a.number(1001)) + a.proto(run) + a.proto(a.NONE))
        ),
    )
    yield (
        "nested list of keys",
        a.proto(a.nested(a.legacy(a.proto(a.storage(numel=1)))[:-6] + a.proto(run))),
    )
    yield "nested dict, no storage", a.proto(a.nested(a.legacy(a.proto(a.EMPTY_DICT))))
    yield (
        "nested tensor",
        a.proto(a.nested(a.legacy(a.proto(a.tensor(a.storage(numel=1), size=(1,), stride=(1,)))))),
    )
    yield "TensorFlow network with a call", a.proto(
        a.name("dnnlib.tflib.network", "Network") + a.EMPTY_TUPLE + a.NEWOBJ
        + a.dict_of({"build_module_src": a.text(source), "variables": run}) + a.BUILD
    )  # fmt: skip
    yield (
        "object array holding a call",
        a.proto(a.array(shape=(1,), code="O8", raw=a.EMPTY_LIST + run + b"a")),
    )
    yield "array of another class", a.proto(
        a.call(a.name("numpy.core.multiarray", "_reconstruct"), a.name("os", "system"),
               a.tuple_of(a.number(0)), a.data(b"b"))
    )  # fmt: skip
    for path in ("torch.FloatStorage", "torch.Tensor", "numpy.ndarray", "builtins.object"):
        module, _, function = path.partition(".")
        for code, doing in ((a.REDUCE, "call"), (a.NEWOBJ, "construction")):
            size = a.tuple_of(a.tuple_of(a.number(1 << 40)))
            yield f"{doing} of {path}", a.proto(a.name(module, function) + size + code)
    yield "dtype that is a call", a.proto(a.call(a.name("numpy", "dtype"), run))


def _in_containers(touch: str, source: str) -> Files:
    run = a.proto(a.call(a.name("os", "system"), a.text(touch)))
    yield "torch zip with os.system", a.torch_zip(run)
    yield (
        "torch zip, persistent call",
        a.torch_zip(
            a.proto(a.tuple_of(a.text("module"), a.name("os", "system"), a.text(source)) + b"Q")
        ),
    )
    yield (
        "torch zip, module source",
        a.torch_zip(
            a.proto(
                a.tuple_of(a.text("module"), a.text("Net"), a.text("f.py"), a.text(source)) + b"Q"
            )
        ),
    )
    yield (
        "torch zip, TorchScript",
        a.torch_zip(
            a.proto(a.EMPTY_DICT), {"code/__torch__.py": source.encode(), "constants.pkl": run}
        ),
    )
    yield "torch zip, storage named as a call", a.torch_zip(
        a.proto(a.tuple_of(a.text("storage"), a.name("os", "system"), a.text("0"), a.text("cpu"),
                           a.number(1)) + b"Q"), {"data/0": b"\0" * 4},
    )  # fmt: skip
    yield "torch stream with os.system", a.legacy(run)
    yield "torch stream, call as keys", a.legacy(a.proto(a.EMPTY_DICT))[:-6] + run
    yield (
        "torch stream, module source",
        a.legacy(
            a.proto(
                a.tuple_of(a.text("module"), a.text("Net"), a.text("f.py"), a.text(source)) + b"Q"
            )
        ),
    )
    yield "npy with os.system", a.npy("'|O'", "()", run)
    yield "npy whose header calls", a.npy(f"__import__('os').system({touch!r})", "()", b"")
    yield "npy whose shape calls", a.npy("'<f4'", f"({source},)", b"")
    yield "npz with os.system", a.raw_zip([("arr_0.npy", (b := a.npy("'|O'", "()", run)), len(b))])
    yield "python source", source.encode()
    yield "shell script", f"#!/bin/sh\n{touch}\n".encode()
