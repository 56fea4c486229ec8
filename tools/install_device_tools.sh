#!/usr/bin/env bash
# What the tests of devices need beside Python, on Debian and Ubuntu; without it they skip and say so.
set -euo pipefail
packages=(
    qemu-user-static openssh-server gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm
    libvulkan1
)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
[ "$(id -u)" -eq 0 ] || { echo "not root: apt-get install ${missing[*]}" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -y --no-install-recommends install "${missing[@]}" > /dev/null
