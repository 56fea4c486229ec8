#!/usr/bin/env bash
# Makes the environments that targets need to be executed here, in the cache folder; a target that cannot
# be made is named, and its tests skip. `--all` takes those of 300 MB and more too.
set -uo pipefail
cd "$(dirname "$0")/.."
targets=(cpu-tflite-runtime raspberry-pi-5 armv7-linux mcu-tflm ethos-u55-128 gpu-litert intel-openvino)
[ "${1:-}" = --all ] && targets+=(intel-openvino-onnxruntime gpu-onnxruntime-webgpu qualcomm-htp)
failed=0
for target in "${targets[@]}"; do
    .venv/bin/edgekit doctor --target "$target" --install > /dev/null || { echo "not made: $target" >&2; failed=1; }
done
exit $failed
