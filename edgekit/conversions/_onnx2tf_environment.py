"""The packages of onnx2tf's own environment, every one with its version."""

from __future__ import annotations

from edgekit.frameworks.isolated import Requirements

__all__ = ["REQUIREMENTS", "VERSION"]

VERSION = "2.6.9"

_PINS = """
ai-edge-litert==2.1.2
backports.strenum==1.2.8
flatbuffers==25.12.19
markdown-it-py==4.3.0
mdurl==0.1.2
ml_dtypes==0.5.4
numpy==2.2.6
onnx==1.20.1
onnxruntime==1.26.0
onnxsim==0.6.5
packaging==26.3
protobuf==7.35.1
psutil==7.2.2
pygments==2.21.0
rich==15.0.0
setuptools==81.0.0
sne4onnx==2.0.1
sng4onnx==2.0.1
tqdm==4.67.1
typing_extensions==4.16.0
"""
# What `pip install onnx2tf` resolves to, without what its direct way to a .tflite never imports
# (opencv-python, onnxscript, onnx-ir, sympy, mpmath, onnxoptimizer, h5py, pytest: half of the
# download, and onnxoptimizer has no wheel for aarch64), and with a psutil that has wheels for
# aarch64 too.

REQUIREMENTS = Requirements(
    name="onnx2tf",
    pins=(f"onnx2tf=={VERSION}", *_PINS.split()),
    pythons=("3.12", "3.13"),
    module="onnx2tf.onnx2tf",
    download_mb=85,
    needed_for="the conversion from onnx to tflite",
)
