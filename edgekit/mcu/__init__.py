"""C for microcontrollers from an int8 .tflite: plain C11, static memory, no library.

edgekit generates the code itself, because the importers that were tried are too narrow for its
models: bakenn 1.0.0 has no MEAN and no SOFTMAX, refuses op versions that the converter writes, and
only ran patched files; emx-onnx-cgen 1.4.0 allocates on the heap without checking; TVM and IREE
need a runtime that they do not ship for Cortex-M. Every kernel here gives, bit by bit, what
LiteRT's reference kernels (BUILTIN_REF) give, and the tests hold them to it.
"""
