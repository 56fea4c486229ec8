#!/usr/bin/env python3
"""Runs an edgekit bundle on a device: `python3 run.py --help`; or in a program of your own:

    from run import Model
    model = Model("folder-of-the-bundle")   # or a bare .tflite, .onnx or .ort file
    y = model.predict(x)                    # one sample or a batch, scaled as in training
    answers = model.infer("photo.jpg")      # with the bundle's own pre- and post-processing

It needs Python 3.8, numpy, Pillow for images, and one runtime: ai-edge-litert, tflite-runtime or
tensorflow for .tflite, onnxruntime for .onnx and .ort. Exit codes: 0 good, 1 a promise is broken,
2 wrong request or damaged bundle (nothing was executed), 3 it cannot run on this machine.
"""
# A device gets one file that a person can read through, so it stays under 800 lines:
# fmt: off
# ruff: noqa: B905, C901, E401, E701, I001, N818, RUF007, T201 (and in the Python of 3.8)
# mypy: disable-error-code="arg-type,attr-defined,no-any-return,union-attr,var-annotated"

from __future__ import annotations
import importlib, json, os, re, sys, time

TYPE_CHECKING = False  # Starting counts: what is heavy is imported where it is needed.
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

SCHEMA = "edgekit-bundle/1"
MODULES = {  # In the order in which they are tried; each with the module that opens models.
    "ai_edge_litert": "ai_edge_litert.interpreter", "tflite_runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter", "onnxruntime": "onnxruntime"}
DRIVEN = {"tflite_micro": "tflite_micro"}  # By a file beside this one, when asked for.
KERNELS = {"xnnpack": "AUTO", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
           "reference": "BUILTIN_REF"}
ON_CPU = ("CPU", "XNNPACK")  # Where an op runs that no accelerator took, if one was asked for.
LEVELS = ("all", "extended", "basic", "none", "disabled")
DEFAULTS = {"optimization": "all", "kernels": "xnnpack", "providers": ["CPU"],
            "allow_fallback": False}
IMAGES = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # Not every decoder is for strangers.
PROBES = {  # The smallest models there are, zlib in base85: y = relu(x), of two float32 values.
    "tflite": "c-oU-U|<Mw^D$;%;A0SB5Mbb8-~fuS0C@~R9s`365Z?e|W*}w+Vu&mVLiivxJaC;XKoTNm1H=wM?1H3@fq@"
    "Gw4^qbkHH!x-55o*t_)I`-0=Acd;lcm^|B>}oLgg8uG!N7V3{bZqtF1s&i*P>=12>W$VTiTD004jr2m",
    "onnx": "c-rG&x3cEq;bN>1VyskR2};c=6=F<}5(WwIaq)043UP2TaWDcgQxZ_H5?#=Vg^NLe7XUpt2S5"}

class Fault(Exception):
    """One sentence about what is wrong, a hint what to do about it, and the exit code."""
    def __init__(self, message: str, hint: str = "", code: int = 2, attempts: Any = ()) -> None:
        super().__init__(message)
        self.hint, self.code, self.attempts = hint, code, attempts

def sentence(error: BaseException) -> str:
    said = f"the JSON lacks {error}" if isinstance(error, KeyError) else str(error).strip()
    return re.sub(r"\s*\n\s*", ": ", said).split(". ")[0][:300] or type(error).__name__

def as_fault(error: BaseException) -> Fault:
    code = 2 if isinstance(error, (KeyError, TypeError, ValueError)) else 3  # Of JSON, that is.
    return error if isinstance(error, Fault) else Fault(sentence(error), code=code)

class Bundle:
    """The folder of a bundle. No file of it is used before its SHA-256 was compared."""
    def __init__(self, folder: str) -> None:
        self.folder, self._sums = folder, {}
        if not os.path.isfile(os.path.join(folder, "SHA256SUMS")):
            hint = "unpack it (python3 -m zipfile -e FILE FOLDER), then --bundle FOLDER"
            raise Fault(f"{folder}: is no bundle's folder, it has no SHA256SUMS", hint)
        with open(os.path.join(folder, "SHA256SUMS"), encoding="utf-8", errors="replace") as file:
            lines = file.read(2**20).splitlines()
        for line in lines:
            match = re.fullmatch(r"([0-9a-f]{64})  ([\w.-]+(?:/[\w.-]+){0,3})", line, re.ASCII)
            if not match or {".", ".."} & {*match[2].split("/")} or match[2] in self._sums:
                raise Fault(f"SHA256SUMS: the line {line[:120]!r} names no file of a bundle")
            self._sums[match[2]] = match[1]
        self.manifest = self.json("manifest.json")
        if self.manifest["schema"] != SCHEMA:
            what = f"manifest.json: has the schema '{self.manifest['schema']}', not '{SCHEMA}'"
            raise Fault(what, "use the run.py that came with the bundle")

    def path(self, name: str) -> str:
        """The path of a file that is now known to be as it was when the bundle was made."""
        import hashlib
        path, digest = os.path.join(self.folder, name), hashlib.sha256()
        plain = os.path.realpath(path) == os.path.join(os.path.realpath(self.folder), name)
        if name not in self._sums or not plain or not os.path.isfile(path):
            raise Fault(f"{name}: is missing, not in SHA256SUMS, or a link", "unpack it again")
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(2**18), b""): digest.update(block)
        if digest.hexdigest() != self._sums[name]:
            raise Fault(f"{name}: is damaged, its SHA-256 is another", "unpack the bundle again")
        return path

    def json(self, name: str) -> Any:
        with open(self.path(name), encoding="utf-8") as file: return json.load(file)
    def arrays(self, names: Sequence[str]) -> list[Any]:
        return [load("numpy").load(self.path(name), allow_pickle=False) for name in names]

    def check(self) -> int:
        """Compares every file, and refuses one too many; returns how many there are."""
        for root, _, names in os.walk(self.folder):
            for name in (os.path.relpath(os.path.join(root, n), self.folder) for n in names):
                own = name.replace(os.sep, "/") in {*self._sums, "SHA256SUMS", "c/run"}
                if not own and "__pycache__" not in name:  # That is left by `import run`.
                    raise Fault(f"{name}: is not one of the bundle's files", "move it elsewhere")
        return len([self.path(name) for name in self._sums])

def about() -> dict[str, Any]:
    import platform
    name, versions = platform.machine(), {name: installed(name) for name in ("numpy", *MODULES)}
    if sys.maxsize < 2**32:  # A 32-bit Python stays one under a 64-bit kernel.
        name = {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(name, name)
    cpu, system = proc("cpuinfo", "(?:model name|Model)"), platform.system()
    return {"python": platform.python_version(), "numpy": versions.pop("numpy"), "machine": name,
            "system": f"{system} {platform.release()}", "glibc": platform.libc_ver()[1],
            "cpu": f"{cpu} x{os.cpu_count()}" if cpu else "",
            "runtimes": {key: version for key, version in versions.items() if version},
            "rss_bytes": memory("VmRSS")}

def proc(name: str, key: str) -> str:
    if not os.path.isfile(f"/proc/{name}"): return ""
    with open(f"/proc/{name}", encoding="utf-8", errors="replace") as file:
        return "".join(re.findall(rf"^{key}\s*:\s*(.*)", file.read(), re.MULTILINE)[:1])

def memory(key: str) -> int:
    """Bytes of this process: VmHWM, the most there were, or VmRSS, those of now; 0: not known."""
    return 1024 * int(proc("self/status", key).partition(" ")[0] or 0)

def installed(module: str) -> str:
    """The version of a package, '' without it; it is not imported, which takes long."""
    from importlib import metadata, util
    try: return metadata.version(module.replace("_", "-"))
    except metadata.PackageNotFoundError:  # A vendor's build has another name; a folder no origin.
        return "unknown" if getattr(util.find_spec(module), "origin", None) else ""

def pin_to(cpus: str) -> None:
    """Lets this process run on these CPUs only ('0,1'); before the runtime makes its threads."""
    there, wanted = os.sched_getaffinity(0), {int(n) for n in re.findall(r"\d+", cpus)}
    if not wanted or wanted - there:
        raise Fault(f"--affinity {cpus}: this machine lacks these CPUs", f"it has {sorted(there)}")
    os.sched_setaffinity(0, wanted)

def load(name: str) -> Any:
    """Imports numpy or a runtime; the Fault says why that does not work here."""
    try:
        importlib.import_module(name)
        if name == "tflite_runtime" and int(load("numpy").__version__.split(".")[0]) >= 2:
            # Its interpreter can be imported, but the first one that is made ends the process.
            what = f"{name} needs numpy 1, and numpy {load('numpy').__version__} is installed"
            raise Fault(what, "python3 -m pip install 'numpy<2'", 3)
        return importlib.import_module(MODULES.get(name) or DRIVEN.get(name, name))
    except Exception as error:  # Whatever a broken installation raises, it is the answer.
        hint, what = "install what requirements.txt names", f"cannot be imported: {sentence(error)}"
        needed = re.search(r"GLIBC_([\d.]+)'? not found", str(error))
        if needed: what = f"needs glibc {needed[1]}, and this system has {about()['glibc']}"
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            hint = "apt install python3-numpy" if name == "numpy" else ""
            what = "is not installed"
        raise error if isinstance(error, Fault) else Fault(f"{name} {what}", hint, 3) from None

class Session:
    """An open model: `once(arrays)` is an inference, `repeat()` gives what does the last one again,
    `placement()` has [index, kind, where, dtype, reason] of every op, and why there is none."""
    runtime = version = kernels = label = ""
    on_cpu: Any = ON_CPU

    def __init__(self, how: Mapping[str, Any], **own: Any) -> None:
        """Takes (handle, spec) pairs, in the manifest's order where that has the same names."""
        self.np, self.first_ns, sides = load("numpy"), 0, []
        for side, pairs in own.items():
            by_name = {spec["name"]: (handle, spec) for handle, spec in pairs}
            names = [spec["name"] for spec in how[side]]
            same = sorted(by_name) == sorted(names)
            sides += zip(*([by_name[name] for name in names] if same else pairs))
        self._in, self.inputs, self._out, self.outputs = map(list, sides)
        if not all(spec["shape"] for spec in self.inputs):
            raise Fault("an input of the model has no batch axis")
        self._shapes = [tuple(size or 1 for size in spec["shape"]) for spec in self.inputs]
        self.rows = max(shape[0] for shape in self._shapes)

    def where(self) -> dict[str, int]:
        places = [op[2] for op in self.placement()[0]]
        return {place: places.count(place) for place in dict.fromkeys(places)}

    def ran(self) -> str:
        """The kernels that really run, which decides how far golden outputs may be off."""
        places = self.where()
        untaken = self.kernels == "xnnpack" and "XNNPACK" not in places
        return "delegate" if self.label in places else "builtin" if untaken else self.kernels

    def trial(self) -> None:
        """An inference of zeros; the runtime's own error where that fails."""
        specs, begin = zip(self._shapes, self.inputs), time.perf_counter_ns()
        self.once([self.np.zeros(shape, spec["dtype"]) for shape, spec in specs])
        self.first_ns = time.perf_counter_ns() - begin

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """N samples in the model's own dtypes, one by one or in its batch; one array an output."""
        if len(arrays) != len(self.inputs) or not len(arrays[0]):
            raise Fault(f"the model takes {len(self.inputs)} inputs, of one sample at least")
        count, columns, begin = len(arrays[0]), [[] for _ in self.outputs], time.perf_counter_ns()
        for start in range(0, count, self.rows):
            block = arrays if count == self.rows else [a[start : start + self.rows] for a in arrays]
            short = self.rows - len(block[0])
            if short:  # A fixed batch is filled up with the last sample.
                block = [self.np.concatenate([a, a[-1:].repeat(short, axis=0)]) for a in block]
            try: outputs = self.once(block)
            except Exception as error:  # Another shape or dtype; the runtimes say it well.
                raise Fault(f"the model does not take the input: {sentence(error)}") from None
            self.first_ns = self.first_ns or time.perf_counter_ns() - begin
            for column, found in zip(columns, outputs):
                # An output without a batch axis is that of a single sample.
                column.append(found if found.shape[:1] == (self.rows,) else found[None])
        return [(c[0] if len(c) == 1 else self.np.concatenate(c))[:count] for c in columns]

class Tflite(Session):
    """A .tflite model in the interpreter of ai-edge-litert, tflite-runtime or TensorFlow."""
    def __init__(self, module: Any, how: Mapping[str, Any], delegate: Any) -> None:
        self.kernels, given = how["kernels"], {}
        if delegate:
            import ctypes
            self.label = os.path.basename(delegate["library"])
            ctypes.CDLL(delegate["library"])  # Says what is wrong without noise, unlike the next.
            options = {str(key): str(value) for key, value in delegate["options"].items()}
            given["experimental_delegates"] = [module.load_delegate(delegate["library"], options)]
        resolver = getattr(module.OpResolverType, KERNELS[self.kernels])
        native = module.Interpreter(model_path=how["path"], num_threads=how["threads"],
                                    experimental_op_resolver_type=resolver, **given)
        # XNNPACK takes ops when tensors are allocated: the partitions before it are the library's.
        self._native, self._taken = native, len(native._get_ops_details()) if delegate else 0
        native.allocate_tensors()
        super().__init__(how, inputs=self._specs("input"), outputs=self._specs("output"))
        self._set, self._get, self._invoke = native.set_tensor, native.get_tensor, native.invoke
        self.repeat = lambda: native.invoke

    def _specs(self, side: str) -> list[Any]:
        """(tensor number, spec); the names are those of the first signature that fits."""
        details, names, pairs = getattr(self._native, f"get_{side}_details")(), {}, []
        for signature in self._native._get_full_signature_list().values():
            if not names and {*signature[f"{side}s"].values()} == {d["index"] for d in details}:
                names = {index: name for name, index in signature[f"{side}s"].items()}
        for detail in details:
            sizes, (scale, zero) = detail["shape"].tolist(), detail["quantization"]
            shape = [None if s < 0 else n for s, n in zip(detail["shape_signature"], sizes)]
            pairs.append((detail["index"], {
                "name": names.get(detail["index"], detail["name"]), "shape": shape,
                "dtype": detail["dtype"].__name__, "scale": float(scale) or None,
                "zero_point": int(zero) if scale else None}))
        return pairs

    def once(self, block: Sequence[Any]) -> list[Any]:
        shapes = [array.shape for array in block]
        if shapes != self._shapes:
            for index, shape in zip(self._in, shapes):
                self._native.resize_tensor_input(index, shape, strict=True)
            self._native.allocate_tensors()
            self._shapes = shapes
        for index, array in zip(self._in, block): self._set(index, array)
        self._invoke()
        return [self._get(index) for index in self._out]

    def placement(self) -> tuple[list[list[Any]], str]:
        """The runtime does not say which op went into which partition, but the graph does: those
        that are reached backwards from the partition's outputs before its inputs are."""
        rows, where, ops = self._native._get_ops_details(), {}, []
        nodes = [row for row in rows if row["op_name"] != "DELEGATE"]
        producer = {int(tensor): node for node in nodes for tensor in node["outputs"]}
        for number, part in enumerate(rows[len(nodes) :], len(nodes)):
            borders, waiting = {*part["inputs"].tolist()}, part["outputs"].tolist()
            while waiting:
                node = producer.get(waiting.pop())
                if node is not None and node["index"] not in where:
                    where[node["index"]] = self.label if number < self._taken else "XNNPACK"
                    waiting += [int(t) for t in node["inputs"] if int(t) not in borders]
        dtypes = {d["index"]: d["dtype"].__name__ for d in self._native.get_tensor_details()}
        for node in nodes:  # The dtype is that of the first activation in, and the first one out.
            first = [t for t in node["inputs"] if t in producer or t in self._in][:1]
            kinds = dict.fromkeys(dtypes.get(t, "") for t in (*first, *node["outputs"][:1]))
            place = where.get(node["index"], "CPU")
            reason = "no delegate took it (the runtime gives no reason)" if place == "CPU" else ""
            ops.append([int(node["index"]), node["op_name"], place, " to ".join(kinds), reason])
        return ops, ""

class Onnx(Session):
    """An .onnx or .ort model in ONNX Runtime; a delegate is an execution provider."""
    kernels, _last = "onnxruntime", None

    def __init__(self, module: Any, how: Mapping[str, Any], delegate: Any) -> None:
        options, providers = module.SessionOptions(), ["CPUExecutionProvider"]
        options.log_severity_level, options.use_deterministic_compute = 4, True
        options.intra_op_num_threads, options.inter_op_num_threads = how["threads"], 1
        level = how["optimization"].upper()
        level = "ORT_DISABLE_ALL" if level in ("NONE", "DISABLED") else f"ORT_ENABLE_{level}"
        options.graph_optimization_level = getattr(module.GraphOptimizationLevel, level)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if delegate:
            self.label = re.sub("ExecutionProvider$", "", delegate["library"])
            providers.insert(0, (f"{self.label}ExecutionProvider", dict(delegate["options"])))
            if how["strict"]:
                options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        self._native = native = module.InferenceSession(how["path"], options, providers,
                                                        enable_fallback=0)
        if delegate and f"{self.label}ExecutionProvider" not in native.get_providers():
            raise RuntimeError("this onnxruntime is built without it, or it does not start here")
        super().__init__(how, inputs=[*map(self._spec, native.get_inputs())],
                         outputs=[*map(self._spec, native.get_outputs())])

    def _spec(self, value: Any) -> tuple[str, dict[str, Any]]:
        kind = re.sub(r"tensor\((\w+)\)", r"\1", value.type)
        return value.name, {
            "name": value.name, "shape": [n if isinstance(n, int) else None for n in value.shape],
            "dtype": {"float": "float32", "double": "float64"}.get(kind, kind),
            "scale": None, "zero_point": None}

    def once(self, block: Sequence[Any]) -> Any:
        self._last = dict(zip(self._in, block))
        return self._native.run(self._out, self._last)

    def repeat(self) -> Any:
        binding = self._native.io_binding()
        for name, array in self._last.items(): binding.bind_cpu_input(name, array)
        for name in self._out: binding.bind_output(name)
        return lambda: self._native.run_with_iobinding(binding)

    def placement(self) -> tuple[list[list[Any]], str]:
        try: parts = self._native.get_provider_graph_assignment_info()
        except Exception as error:  # Older releases do not say, nor does any for an .ort file.
            return [], f"this ONNX Runtime does not say: {sentence(error)}"
        ops = [(node.op_type, part.ep_name[:-17]) for part in parts for node in part.get_nodes()]
        return [[number, *op, "unknown", ""] for number, op in enumerate(ops)], ""

def driver(name: str, is_tflite: bool, delegate: Any) -> str:
    """The file beside this one that opens a model with this runtime and delegate; '': this one."""
    library, options = (delegate["library"], delegate["options"]) if delegate else ("", {})
    if name in DRIVEN: return "drive_tflm"
    if is_tflite: return "drive_compiled" if library in ("GPU", "NPU") else ""
    return "drive_plugin" if "plugin" in options else ""

def beside(file: str, folder: str = "", name: str = "") -> Any:
    """A module whose file lies beside this one, whatever the module path; it may import `run`."""
    from importlib import util
    path = os.path.join(folder or os.path.dirname(os.path.abspath(__file__)), f"{file}.py")
    if not os.path.isfile(path): raise Fault(f"{path}: is not there, and is needed", code=3)
    sys.modules.setdefault("run", sys.modules[__name__])
    spec: Any = util.spec_from_file_location(name or file, path)
    module = sys.modules[spec.name] = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def open_model(model: str, **given: Any) -> Session:
    """The first delegate of the first runtime that opens it; `attempts` is all that was tried."""
    how = {"path": model, "format": os.path.splitext(model)[1][1:], "threads": 1, "runtimes": [],
           "delegates": [], "inputs": [], "outputs": [], "options": {}, "strict": False, "hint": "",
           **given}
    is_tflite, options = how["format"] == "tflite", {**DEFAULTS, **how["options"]}
    own, known = ("kernels", KERNELS) if is_tflite else ("optimization", LEVELS)
    if how["format"] not in ("tflite", "onnx", "ort") or not os.path.isfile(model):
        raise Fault(f"{model}: is no .tflite, .onnx or .ort file, or not there")
    for key, value in options.items():  # No option is ignored without a word.
        if key == "arena" and {*how["runtimes"]} & {*DRIVEN}: continue
        if value not in known if key == own else value != DEFAULTS.get(key):
            raise Fault(f"the option {key} = {value} is none for a .{how['format']} model")
    how[own], attempts, faults = options[own], [], []
    names = [n for n in how["runtimes"] or MODULES if (n != "onnxruntime") == is_tflite]
    for name, delegate in [(name, d) for name in names for d in (*how["delegates"], None)]:
        if attempts and attempts[-1]["what"] == name: continue  # That runtime is not there at all.
        what = os.path.basename(delegate["library"]) if delegate else name
        try:
            module, start = load(name), time.perf_counter_ns()
            own_file = driver(name, is_tflite, delegate)
            kind = beside(own_file).open_session if own_file else Tflite if is_tflite else Onnx
            session: Any = kind(module, how, delegate)
            session.load_ns = time.perf_counter_ns() - start
            if delegate and session.where() and session.ran() != "delegate":
                raise RuntimeError("it takes none of the model's ops")
            if delegate: session.trial()  # One that opened a model may still fail to compute it.
            session.runtime, session.on_cpu = name, ON_CPU[: 1 + bool(how["delegates"])]
            session.version = getattr(sys.modules[name], "__version__", None) or installed(name)
            session.attempts = [*attempts, {"what": what, "ok": True, "reason": ""}]
            return session
        except Exception as error:  # The errors of the runtimes have no base of their own.
            lacks = f"{model}: {name} {installed(name)} does not run it: {sentence(error)}"
            if delegate: lacks = sentence(error)  # Of the delegate, which `what` names.
            fault = error if isinstance(error, Fault) else Fault(lacks, f"update {name}", 3)
            if fault is error and fault.code == 3: what, delegate = name, None
            attempts.append({"what": what, "ok": False, "reason": str(fault)})
            if fault.code == 2 or (delegate and how["strict"]):
                raise Fault(f"{what}: {fault}", fault.hint, 2 - bool(delegate), attempts) from None
            faults += [] if delegate else [fault]
    said = "; ".join(map(str, faults)) or f"no runtime of the bundle opens .{how['format']}"
    raise Fault(said, next((f.hint for f in faults if f.hint), how["hint"]), 3, attempts)

class Model:
    """A model that is ready to answer: that of a bundle's folder, or a bare file. `threads`,
    `kernels`, `runtimes` and `delegates` are taken in place of the bundle's own."""
    def __init__(self, path: str = ".", *, kernels: str = "", **own: Any) -> None:
        self.bundle = None if os.path.isfile(path) else Bundle(path)
        how: dict[str, Any] = {"options": {}}
        if self.bundle:
            manifest = self.bundle.manifest
            model, hint = manifest["model"], install(manifest["boards"])
            drivers = [name for name in self.bundle._sums if name.startswith("drive_")]
            names = (*drivers, *model["parts"], model["file"])
            path = [self.bundle.path(name) for name in names][-1]
            how = {**manifest["target"], "format": model["format"], "hint": hint,
                   "inputs": manifest["inputs"], "outputs": manifest["outputs"]}
        how.update({key: value for key, value in own.items() if value})
        how["options"] = {**how["options"], **({"kernels": kernels} if kernels else {})}
        self.session = open_model(path, **how)
        self.inputs, self.outputs = self.session.inputs, self.session.outputs
        self.placement = self.session.where  # How many ops run where.
        whole = [spec["shape"][:1] for spec in (*self.inputs, *self.outputs)] == [[1], [1]]
        self._whole = self.session._shapes[0] if whole else None

    def predict(self, *inputs: Any) -> Any:
        """Real values of a sample or of a batch, an array an input; a list for several outputs."""
        if getattr(inputs[0], "shape", 0) == self._whole:  # Microseconds count, so straight there.
            as_is = inputs[0].dtype.char == "f" and self.inputs[0]["dtype"] == "float32"
            found = self.session.once(inputs if as_is else [quantize(inputs[0], self.inputs[0])])[0]
            return found if found.dtype.char == "f" else dequantize(found, self.outputs[0])
        arrays = [*map(quantize, inputs, self.inputs)]
        alone = arrays[0].ndim < len(self.inputs[0]["shape"])
        found = self.session.run([array[None] for array in arrays] if alone else arrays)
        real = [*map(dequantize, (a[0] for a in found) if alone else found, self.outputs)]
        return real[0] if len(real) == 1 else real

    def infer(self, path: str, top_k: int | None = None) -> list[dict[str, Any]]:
        """The answer to each sample in a file."""
        if not self.bundle:
            raise Fault(f"{path}: only a bundle says how a file becomes an input", "use predict()")
        how, labels = self.bundle.json(self.bundle.manifest["preprocess"]), []
        if self.bundle.manifest["labels"]:
            with open(self.bundle.path(self.bundle.manifest["labels"]), encoding="utf-8") as file:
                labels = file.read().splitlines()
        found = self.predict(*Reader(how["input"], how["scaling"], self.inputs).read(path))
        rows = [*zip(*(found if len(self.outputs) > 1 else [found]))]
        answers = [answer(row, how["output"], labels, top_k) for row in rows]
        return [{"row": row, **one} for row, one in enumerate(answers)] if rows[1:] else answers

    def close(self) -> None: del self.session, self.placement  # The runtime gives back its memory.

def install(boards: Sequence[Mapping[str, Any]]) -> str:
    """The command that installs what the bundle was tried with, for this Python."""
    here = "{}.{}".format(*sys.version_info)
    pins = {board["python"]: " ".join(board["requires"]) for board in boards}
    known = f"this is Python {here}, and requirements.txt has packages for {', '.join(pins)}"
    return f"python3 -m pip install {pins[here]}" if here in pins else known

def quantize(values: Any, spec: Mapping[str, Any]) -> Any:
    """Real values in a tensor's own dtype: round(real / scale) + zero_point, ties to even."""
    np, dtype = sys.modules["numpy"], spec["dtype"]
    values = np.asarray(values)
    if "int" not in dtype: return np.ascontiguousarray(values, dtype)
    bounds = np.iinfo(dtype)
    if spec["scale"] is None and values.dtype.kind in "iub":
        return np.clip(values, bounds.min, bounds.max).astype(dtype)
    # float32 holds every integer of 8 and 16 bits exactly; wider ones need float64.
    stored = np.divide(values, spec["scale"] or 1, dtype="f4" if bounds.bits <= 16 else "f8")
    if np.isnan(np.vdot(stored, stored)):  # Faster than a look at each of them.
        raise Fault(f"the input '{spec['name']}' has NaN, which {dtype} cannot hold")
    stored = np.rint(stored, out=stored) + (spec["zero_point"] or 0)
    return stored.clip(bounds.min, bounds.max, out=stored).astype(dtype)

def dequantize(stored: Any, spec: Mapping[str, Any]) -> Any:
    real = stored.astype("float32", copy=False)
    return real if spec["scale"] is None else (real - spec["zero_point"]) * spec["scale"]

class Reader:
    """Makes a file what the model takes, by the bundle's preprocess.json."""
    def __init__(self, how: Any, scaling: Any, specs: Any) -> None:
        self.np, self.how, self.scaling, self.specs = load("numpy"), how, scaling, specs

    def read(self, path: str) -> list[Any]:
        """The samples in a file, an array for each input."""
        end, kind = os.path.splitext(path)[1].lower(), self.how["kind"]
        ways = {"image": self._image, "audio": self._audio}
        way = self._arrays if end in (".npy", ".npz") else ways.get(kind, self._rows)
        if way == self._rows and end != ".csv":
            raise Fault(f"the model takes {kind} data, from a .npy, .npz or .csv file")
        return [self._scaled(raw, spec) for raw, spec in zip(way(path), self.specs)]

    def _scaled(self, raw: Any, spec: Mapping[str, Any]) -> Any:
        """raw * scale + offset in float32, one value or one a channel; not of plain integers."""
        np, wanted = self.np, spec["shape"][1:]
        if None not in wanted:
            if raw.size % np.prod(wanted) or not raw.size:
                raise Fault(f"the shape {raw.shape} is none of samples of {wanted}")
            raw = raw.reshape(-1, *wanted)
        if spec["scale"] is None and "int" in spec["dtype"]: return raw
        scale, offset = (np.asarray(self.scaling[key], np.float32) for key in ("scale", "offset"))
        if {scale.size, offset.size} - {1, raw.shape[-1]}:  # The channels come first.
            scale, offset = (a.reshape(-1, *(1,) * (raw.ndim - 2)) for a in (scale, offset))
        return raw.astype(np.float32) * scale + offset

    def _arrays(self, path: str) -> list[Any]:
        """The arrays of a .npy or .npz: of samples, or of a single one, for each input."""
        with open(path, "rb") as file:
            found = self.np.load(file, allow_pickle=False)
            held = {key: found[key] for key in getattr(found, "files", ())} or {"": found}
        names = [spec["name"] for spec in self.specs]
        held = dict(zip(names, held.values())) if len(held) == len(names) == 1 else held
        if {*held} != {*names}:
            raise Fault(f"has the arrays {sorted(held)}, and the model takes {names}")
        pairs = [(held[spec["name"]], len(spec["shape"])) for spec in self.specs]
        return [array[None] if array.ndim < rank else array for array, rank in pairs]

    def _rows(self, path: str) -> list[Any]:
        """The rows of a .csv: all the numbers, or the columns that the model was trained on."""
        import csv
        names, found = self.how.get("columns", ()), []
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, ())] if names else []
            if not {*names} <= {*header}: raise Fault(f"lacks a column of {', '.join(names)}")
            for row in filter(None, rows):
                try:
                    texts = [row[header.index(name)] for name in names] if names else row
                    found.append([float(text) for text in texts])
                except (ValueError, IndexError) as error:
                    raise Fault(f"line {rows.line_num}: {sentence(error)}") from None
        values, mean = self.np.array(found), self.how.get("mean")
        return [values if mean is None else (values - mean) / self.how["std"]]

    def _image(self, path: str) -> list[Any]:
        """Upright, 8 bits, at the model's size: the arithmetic of edgekit's own image data."""
        try: from PIL import Image, ImageOps
        except ImportError:
            hint = "python3 -m pip install pillow, or on Debian: apt install python3-pil"
            raise Fault("images need Pillow, which is not installed", hint, 3) from None
        np, how, size = self.np, self.how, (self.how["width"], self.how["height"])
        with Image.open(path) as file:
            if file.format not in IMAGES or file.width * file.height > 50_000_000:
                raise Fault(f"is no {', '.join(IMAGES)} of at most 50 million pixels")
            image: Any = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # 16 bits: Pillow would clip them to 255.
                image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype("uint8"))
            image = image.convert("L" if how["channels"] == 1 else "RGB")
        ways: Any = {"crop": ImageOps.fit, "pad": ImageOps.pad, "stretch": Image.Image.resize}
        image = image if image.size == size else ways[how["resize"]](image, size, Image.BILINEAR)
        pixels = np.asarray(image).reshape(*size[::-1], how["channels"])
        pixels = pixels[..., ::-1] if how["order"] == "bgr" else pixels
        low, high = how.get("levels", (0, 255))  # What black and white were in training.
        pixels = pixels * np.float32((high - low) / 255) + np.float32(low)
        return [pixels.transpose(2, 0, 1)[None] if how["axes"] == "first" else pixels[None]]

    def _audio(self, path: str) -> list[Any]:
        """The features of a .wav of 8, 16, 24 or 32 bits, as one channel at the model's rate."""
        import wave
        np, how, rate = self.np, self.how, self.how["sample_rate"]
        with wave.open(path, "rb") as file:
            own, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            data = file.readframes(int(own * (how["seconds"] or 600)) + 1)
        raw = np.frombuffer(data, np.uint8).reshape(-1, width)
        wide = np.zeros((len(raw), 4), np.uint8)  # 32 bits, of which the highest are used.
        wide[:, 4 - width :] = raw ^ 128 if width == 1 else raw  # 8 bits are unsigned in a .wav.
        sound = wide.view("<i4").reshape(-1, channels).mean(axis=1) / 2**31
        if own != rate:
            print(f"warning: {path}: from {own} to {rate} Hz, linearly", file=sys.stderr)
            times = np.arange(len(sound) * rate // own) * own / rate
            sound = np.interp(times, np.arange(len(sound)), sound)
        length = round(how["seconds"] * rate) if how["seconds"] else len(sound)
        return [self.features(np.pad(sound[:length], (0, max(0, length - len(sound)))))[None]]

    def features(self, sound: Any) -> Any:
        """Log-mel energies or MFCC, (frames, values): periodic Hann window, magnitudes of the FFT,
        triangles on the HTK mel scale, log(max(energy, log_floor)), orthonormal DCT-II."""
        np, how, mels, rate = self.np, self.how, self.how["mels"], self.how["sample_rate"]
        window, stride = (round(rate * how[key] / 1000) for key in ("window_ms", "stride_ms"))
        sound = np.pad(sound, (0, max(0, window - len(sound))))
        frames = np.arange(0, len(sound) - window + 1, stride)[:, None] + np.arange(window)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
        spectrum = np.abs(np.fft.rfft(sound[frames] * hann, how["fft"]))
        hertz = [how["low_hz"], how["high_hz"], *np.fft.rfftfreq(how["fft"], 1 / rate)]
        low, high, *bins = 1127 * np.log1p(np.array(hertz) / 700)
        edges, step = np.linspace(low, high, mels + 2, retstep=True)
        triangles = np.maximum(0, 1 - np.abs(np.array(bins)[:, None] - edges[1:-1]) / step)
        found = np.log(np.maximum(spectrum @ triangles, how["log_floor"]))
        if not how["coefficients"]: return found
        basis = np.cos(np.pi / mels * np.outer(np.arange(mels) + 0.5, np.arange(mels)))
        basis *= np.sqrt(np.where(np.arange(mels), 2, 1) / mels)
        return found @ basis[:, : how["coefficients"]]

def answer(outputs: Any, how: Mapping[str, Any], labels: Sequence[str], top_k: int | None) -> Any:
    """What the outputs for one sample say, by the bundle's preprocess.json."""
    np, kind, named = load("numpy"), how["kind"], dict(enumerate(labels))
    values = outputs[how.get("index", 0)]
    least = -np.inf if how.get("threshold") is None else how["threshold"]
    if how.get("activation") == "softmax":
        values = np.exp(values - values.max(axis=-1, keepdims=True))
        values = values / values.sum(axis=-1, keepdims=True)
    elif how.get("activation") == "sigmoid": values = 1 / (1 + np.exp(-values))
    if kind == "boxes":
        part = dict(zip(how["order"], outputs))
        corners = part["boxes"][:, [1, 0, 3, 2] if how["form"] == "yxyx" else slice(4)].tolist()
        count = int(part["count"].item()) if "count" in part else None
        classes = map(int, part.get("classes", np.zeros(len(corners))))
        rows = [*zip(classes, map(number, part["scores"]), corners)][:count]
        return {"boxes": [{"label": named.get(i, str(i)), "score": score, "box": box}
                          for i, score, box in rows if (score or 0) >= least]}
    if kind == "ctc":  # The best of each step; repeats are one, and blanks none.
        best = values.reshape(-1, values.shape[-1]).argmax(axis=-1).tolist()
        kept = [b for a, b in zip([None, *best], best) if a != b and b != how["blank"]]
        return {"text": "".join(named.get(index, "?") for index in kept)}
    values = values.ravel()
    if kind == "values": return {"values": [*map(number, values)]}
    if len(values) == 1: values = np.array([1 - values[0], values[0]])  # That of the second of two.
    best = [i for i in np.argsort(-values, kind="stable").tolist() if values[i] >= least]
    return {"classes": [{"label": named.get(i, str(i)), "index": i, "score": number(values[i])}
                        for i in best[: top_k or how["top_k"]]]}

def number(value: Any) -> float | None:  # JSON has neither NaN nor infinity.
    return float(f"{value:.7g}") if abs(value) < float("inf") else None

def selftest(folder: str, **own: Any) -> dict[str, Any]:
    """Whether the bundle is whole, and computes here what it must: the JSON of `selftest`."""
    result: Any = {"ok": True, "exit": 0, "checks": [], "runtime": "", "version": "",
                   "attempts": [], "max_lsb": None, "max_relative": None, "placement": {}}
    names, checks = ["files", "machine", "runtime", "golden", "placement"], result["checks"]
    try:
        for detail in proofs(folder, result, **own):
            checks.append({"what": names[len(checks)], "ok": True, "detail": detail})
    except Exception as error:
        why = as_fault(error)
        checks.append({"what": names[len(checks)], "ok": False, "detail": str(why)})
        result["attempts"] = [*why.attempts] or result["attempts"]
        result.update(ok=False, exit=why.code, hint=why.hint, error=f"{checks[-1]['what']}: {why}")
    return result

def proofs(folder: str, result: Any, any_machine: bool = False, **own: Any) -> Iterator[str]:
    """What each of the five checks found; the first promise that is broken is raised."""
    bundle = Bundle(folder)
    yield f"{bundle.check()} files are as they were when the bundle was made"
    target, here = bundle.manifest["target"], about()["machine"]
    if here not in (target["machines"] or [here]) and not any_machine:
        meant = f"this machine is {here}, and the bundle is for {', '.join(target['machines'])}"
        raise Fault(meant, "--any-machine tries it all the same")
    yield here
    session = Model(folder, **own).session
    kernels, places, least = session.ran(), session.where(), target["min_delegated"] or 0
    result.update({key: getattr(session, key) for key in ("runtime", "version", "attempts")})
    yield f"{session.runtime} {session.version}, kernels: {kernels}"
    golden = bundle.manifest["golden"]  # Another runtime has other reference kernels.
    own_kernels = golden["made_with"].replace("-", "_").startswith(session.runtime)
    limits = golden["tolerance"][kernels if own_kernels or kernels != "reference" else "builtin"]
    lsb, relative = differences(session, bundle)
    result.update(placement=places, max_lsb=lsb, max_relative=relative and number(relative))
    seen = [(lsb, "LSB", limits["lsb"]), (relative, "of the largest", limits["relative"])]
    seen = [row for row in seen if row[0] is not None]
    off = "outputs are off by " + ", ".join(f"{o:.2g} {unit} ({m} allowed)" for o, unit, m in seen)
    if not all(o <= m for o, _, m in seen): raise Fault(off, code=1)  # Nor is NaN good.
    yield off
    on_cpu = sum(places.get(place, 0) for place in session.on_cpu)
    share = 1 - on_cpu / sum(places.values()) if places else 0
    ran = f"{share:.0%} of the ops are delegated: {places or session.placement()[1]}"
    if share < least: raise Fault(f"{ran}, and {least:.0%} were promised", code=1)
    yield ran

def differences(session: Any, bundle: Bundle) -> tuple[int | None, float | None]:
    """The largest difference of golden outputs: of integers in LSB, of floats by their largest."""
    golden, lsb, relative = bundle.manifest["golden"], [], []
    outputs = bundle.arrays(golden["outputs"])
    for found, wanted in zip(session.run(bundle.arrays(golden["inputs"])), outputs):
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise Fault(f"a golden output is {wanted.dtype} {wanted.shape}, not {found.dtype}")
        off, want = abs(found.astype("f8") - wanted).max(), abs(wanted.astype("f8")).max()
        if found.dtype.kind == "f": relative.append(float(off / want if want else off))
        else: lsb.append(int(off))
    return max(lsb, default=None), max(relative, default=None)

def block(invoke: Any, runs: int) -> list[int]:
    """The ns of each run; one look at the clock ends a run and starts the next one."""
    clock = time.perf_counter_ns
    stamps = [clock()] * (runs + 1)
    for index in range(1, runs + 1):
        invoke()
        stamps[index] = clock()
    return [after - before for before, after in zip(stamps, stamps[1:])]

def bench(folder: str, runs: int | None, seconds: float, **own: Any) -> dict[str, Any]:
    """Times inferences of a golden sample, once they have fallen into step."""
    before, clock, model = memory("VmHWM"), time.perf_counter_ns, Model(folder, **own)
    session, golden = model.session, model.bundle.manifest["golden"]["inputs"]
    session.run([array[: session.rows] for array in model.bundle.arrays(golden)])
    invoke, samples, medians, count = session.repeat(), [], [1, 2, 3], 1
    until = clock() + 2 * 10**9
    while max(medians[-3:]) > 1.03 * min(medians[-3:]) and clock() < until:
        medians.append(sorted(block(invoke, count))[count // 2])
        count = max(1, min(20_000, 5_000_000 // medians[-1]))  # Blocks of 5 ms.
    until, peak = clock() + int(seconds * 1e9), memory("VmHWM")  # The samples need memory too.
    while len(samples) < runs if runs else clock() < until and len(samples) < 10**6:
        samples += block(invoke, min(count, runs - len(samples)) if runs else count)
    ordered = sorted(samples)
    found = {"runtime": f"{session.runtime} {session.version}", "kernels": session.ran(),
             "placement": session.where(), "load_ns": session.load_ns, "first_ns": session.first_ns,
             "median_ns": ordered[len(ordered) // 2], "runs": len(ordered)}
    for percent, least in ((90, 64), (99, 662)):  # With 99 % confidence, by order statistics.
        rank = ordered[-(-len(ordered) * percent // 100) - 1]
        found[f"p{percent}_ns"] = rank if len(ordered) >= least else "not enough runs"
    return {**found, "peak_bytes": peak, "before_bytes": before, "samples_ns": samples}

def doctor(folder: str) -> dict[str, Any]:
    """What works on this machine; `exit` is 0 where a runtime does that the bundle can use."""
    found, usable = about(), [*MODULES]
    if os.path.exists(os.path.join(folder, "SHA256SUMS")):
        manifest = Bundle(folder).manifest
        usable, found["install"] = manifest["target"]["runtimes"], install(manifest["boards"])
    for name in MODULES: found[name] = probe(name) if name in found["runtimes"] else "not installed"
    return {**found, "exit": 0 if "works" in [found[name] for name in usable] else 3}

def probe(name: str) -> str:
    """Computes the smallest model, in a process of its own: a crash is an answer too."""
    import base64, tempfile, zlib
    form = "onnx" if name == "onnxruntime" else "tflite"
    with tempfile.NamedTemporaryFile(suffix=f".{form}", buffering=0) as file:
        file.write(zlib.decompress(base64.b85decode(PROBES[form])))
        child = os.fork()
        if child == 0:
            try:
                y = Model(file.name, runtimes=[name]).predict([[-1, 2]])
                said = "works" if y.tolist() == [[0, 2]] else "computes wrong values"
            except BaseException as error: said = sentence(error)
            os.pwrite(file.fileno(), said.encode() + b"\0", 0)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        said = os.pread(file.fileno(), 4000, 0).partition(b"\0")[0].decode(errors="replace")
        return f"ends the process (signal {status})" if status else said

def parse(words: Sequence[str] | None) -> Any:
    import argparse
    parser = argparse.ArgumentParser(prog="run.py", description="Runs an edgekit bundle.")
    add = parser.add_argument
    add("command", choices=["selftest", "infer", "bench", "info", "doctor"])
    add("files", nargs="*", metavar="FILE", help="infer: images, .wav, .npy, .npz or .csv")
    add("--bundle", default=os.path.dirname(os.path.abspath(__file__)), metavar="FOLDER")
    add("--json", action="store_true", help="print JSON")
    add("--strict", action="store_true", help="selftest: no delegate may fail")
    add("--any-machine", action="store_true", help="selftest: not only what the bundle is for")
    add("--top-k", type=int, metavar="N", help="infer: the best N classes")
    add("--runs", type=int, metavar="N", help="bench: N inferences")
    add("--seconds", type=float, default=3, help="bench: for so long, where no --runs says")
    add("--threads", type=int, metavar="N", choices=range(1, 65))
    add("--affinity", metavar="0,1", help="the CPUs that it may run on")
    add("--kernels", choices=[*KERNELS], help="of a .tflite model")
    add("--runtime", choices=[*MODULES, *DRIVEN], help="only this one")
    add("--delegate", action="append", default=[], metavar="LIB[:KEY=VALUE,...]",
        help="a library, or a provider of ONNX Runtime; several are tried in turn")
    return parser.parse_intermixed_args(words)

def execute(asked: Any) -> int:
    own: Any = {"threads": asked.threads, "kernels": asked.kernels or "", "delegates": []}
    own["runtimes"] = [asked.runtime] if asked.runtime else []
    for library, _, text in (delegate.partition(":") for delegate in asked.delegate):
        options = dict(pair.partition("=")[::2] for pair in text.split(",") if pair)
        own["delegates"].append({"library": library, "options": options})
    if asked.affinity: pin_to(asked.affinity)
    if asked.command == "infer": return infer(asked, own)
    if asked.command == "selftest":
        found = selftest(asked.bundle, strict=asked.strict, any_machine=asked.any_machine, **own)
    elif asked.command == "bench":
        found = bench(asked.bundle, asked.runs, asked.seconds, **own)
    else:
        found = doctor(asked.bundle) if asked.command == "doctor" else Bundle(asked.bundle).manifest
    for key, value in ({} if asked.json else found).items():
        for check in value if key == "checks" else ():
            print("ok " if check["ok"] else "BAD", f"{check['what']}: {check['detail']}")
        if key not in ("checks", "samples_ns", "ok", "exit", "error", "hint"):
            print(f"{key}: {value if isinstance(value, str) else json.dumps(value)}")
    if asked.json: print(json.dumps(found, indent=1))
    if "error" in found: raise Fault(found["error"], found["hint"], found["exit"])
    return found.get("exit", 0)

def infer(asked: Any, own: Mapping[str, Any]) -> int:
    model, code = Model(asked.bundle, **own), 0
    if model.bundle.json(model.bundle.manifest["preprocess"])["input"].get("is_assumed"):
        print("warning: nobody said how data becomes an input, it is assumed", file=sys.stderr)
    for path in asked.files:
        try: records = model.infer(path, asked.top_k)
        except Exception as error:  # Pillow and others raise many kinds for a damaged file.
            if getattr(error, "code", 2) == 3: raise
            code, records = 2, [{"error": sentence(error)}]
        print(*(json.dumps({"file": path, **record}) for record in records), sep="\n", flush=True)
    return code

def main(words: Sequence[str] | None = None) -> int:
    try: return execute(parse(words))
    except KeyboardInterrupt: return 130
    except Exception as error:
        fault = as_fault(error)
        print(f"error: {fault}" + f"\nhint: {fault.hint}" * bool(fault.hint), file=sys.stderr)
        return fault.code

if __name__ == "__main__": sys.exit(main())
