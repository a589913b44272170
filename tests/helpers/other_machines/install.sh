#!/bin/sh
# Sets up, in the folder given, two machines that this one is not: an emulated ARM64 with LiteRT's wheel, and LiteRT.js
# under node. Needs Debian 12 (root, for its packages of another architecture), node 20 or newer, npm and Python's pip.
set -e
litert=2.1.6  # the newest wheel that qemu 7.2 runs
folder=$(mkdir -p "$1" && cd "$1" && pwd)

command -v qemu-aarch64-static >/dev/null || apt-get install -qq -y qemu-user-static
dpkg --add-architecture arm64
apt-get update -qq
mkdir -p "$folder/arm/packages" "$folder/arm/wheels" "$folder/arm/site"
cd "$folder/arm/packages"
apt-get download -qq python3.11:arm64 python3.11-minimal:arm64 libpython3.11-minimal:arm64 libpython3.11-stdlib:arm64 \
  libc6:arm64 libstdc++6:arm64 libgcc-s1:arm64 libexpat1:arm64 zlib1g:arm64 libffi8:arm64 libssl3:arm64 \
  libbz2-1.0:arm64 liblzma5:arm64 libuuid1:arm64
for package in *.deb; do dpkg-deb -x "$package" "$folder/arm/root"; done
cd "$folder/arm"
python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.11 --platform manylinux_2_28_aarch64 \
  --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 -d wheels \
  ai-edge-litert==$litert numpy flatbuffers typing_extensions backports.strenum protobuf tqdm
for wheel in wheels/*.whl; do python3 -m zipfile -e "$wheel" site; done
rm -r packages wheels

mkdir -p "$folder/browser"
cd "$folder/browser"
npm install --silent --no-fund --no-audit --prefix . @litertjs/core@2.5.3
touch "$folder/ready"
