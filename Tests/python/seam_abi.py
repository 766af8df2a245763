"""The C ABI by ctypes, generated from the headers by the parser of scripts/check-abi, so that it never drifts."""
import ctypes
import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "include"


def _load_checker():
    loader = importlib.machinery.SourceFileLoader("check_abi", str(ROOT / "scripts/check-abi"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_abi", loader))
    loader.exec_module(module)
    return module


checker = _load_checker()
_declared = checker.parse(checker.preprocessed(INCLUDE))
enums = {
    name: int(value)
    for name, value in (line.split()[1:] for line in checker.describe(INCLUDE) if line.startswith("enum "))
}

_PLAIN = {
    "void": None, "char": ctypes.c_char, "float": ctypes.c_float, "double": ctypes.c_double, "size_t": ctypes.c_size_t,
    "int32_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32, "int64_t": ctypes.c_int64, "uint64_t": ctypes.c_uint64,
    "uint8_t": ctypes.c_uint8, "uint16_t": ctypes.c_uint16, "DLDeviceType": ctypes.c_int32,
}
structs = {}


def ctype(text):
    """The ctypes type of a C type as the checker spells it; every pointer but a string is a c_void_p."""
    array = re.fullmatch(r"(.*)\[(\w+)\]", text)
    if array:
        return ctype(array[1]) * int(array[2])
    function = re.fullmatch(r"(.*) \(\*\)\((.*)\)", text)
    if function:
        parameters = checker.split(function[2], ",")
        return ctypes.CFUNCTYPE(ctype(function[1]), *[ctype(p) for p in parameters if p != "void"])
    if text == "const char *":
        return ctypes.c_char_p
    if "*" in text:
        return ctypes.c_void_p
    text = text.replace("const ", "")
    if text in _declared["type"]:
        return ctype(_declared["type"][text])
    if text in _declared["struct"]:
        return struct(text)
    return _PLAIN[text]


def struct(name):
    if name not in structs:
        fields = [(member, ctype(kind)) for kind, member in _declared["struct"][name]]
        structs[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return structs[name]


def build_folder():
    """Where libSeam.so and the plugins are: SEAM_BUILD, else the newest build."""
    if "SEAM_BUILD" in os.environ:
        return Path(os.environ["SEAM_BUILD"])
    built = [p for p in (ROOT / ".build/release", ROOT / ".build/debug") if (p / "libSeam.so").exists()]
    if not built:
        raise FileNotFoundError("there is no libSeam.so: run swift build, or set SEAM_BUILD to its folder")
    return max(built, key=lambda p: (p / "libSeam.so").stat().st_mtime)


def load_library():
    library = ctypes.CDLL(str(build_folder() / "libSeam.so"))
    for name, signature in _declared["function"].items():
        if name == "seam_plugin_entry":
            continue
        result, parameters = re.fullmatch(r"(.*?) \((.*)\)", signature).groups()
        function = getattr(library, name)
        function.restype = ctype(result)
        function.argtypes = [ctype(p) for p in checker.split(parameters, ",") if p != "void"]
    return library


class SeamError(Exception):
    def __init__(self, status, message, origin):
        super().__init__(message)
        self.status, self.message, self.origin = status, message, origin


library = load_library()


def call(function, *arguments):
    """Calls a function whose last parameter is `seam_error **`; raises SeamError."""
    error = ctypes.c_void_p()
    status = function(*arguments, ctypes.byref(error))
    if status:
        message = library.seam_error_message(error).decode()
        origin = library.seam_error_origin(error).decode()
        library.seam_error_release(error)
        raise SeamError(status, message, origin)


def create(function, *arguments):
    """As `call`, for a function that gives a new object before its error slot."""
    out = ctypes.c_void_p()
    call(function, *arguments, ctypes.byref(out))
    return out


def compile_plugin(source, folder):
    """A C plugin of this repository, built into `folder`."""
    target = Path(folder) / ("lib" + Path(source).stem + ".so")
    compiler = shutil.which(os.environ.get("CC", "cc"))
    subprocess.run(
        [compiler, "-std=c11", "-shared", "-fPIC", "-fvisibility=hidden", "-I", str(INCLUDE), str(ROOT / source), "-o",
         str(target), "-lm"], check=True)
    return target
