"""python -m seamkit.onnx ADAPTER OUTPUT: a saved adapter, however it was trained, as an ONNX file."""

from __future__ import annotations

import argparse
import sys

from seamkit.errors import SeamError
from seamkit.onnx import export_onnx
from seamkit.torch import load_plugin


def main() -> None:
    parser = argparse.ArgumentParser("python -m seamkit.onnx", description=__doc__)
    parser.add_argument("adapter", help="folder of a saved adapter, or of several")
    parser.add_argument("output", help="the file to write")
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="LIBRARY",
        help="a plugin that the adapter is of, where it is not in SEAM_PLUGIN_PATH; may be given several times",
    )
    parser.add_argument("--model", help="folder of the model, where the adapter's does not say enough of it")
    parser.add_argument("--seam", help="which adapters, of several: encoder.output, attention.prefix, decoder.output")
    parser.add_argument("--opset", type=int, default=18, help="of ONNX, 18 or newer (default 18)")
    given = parser.parse_args()
    try:
        for path in given.plugin:
            load_plugin(path)
        export_onnx(given.adapter, given.output, model=given.model, seam=given.seam, opset=given.opset)
    except SeamError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
