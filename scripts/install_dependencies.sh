#!/usr/bin/env bash
# install_dependencies.sh [--tests]: what the build (and the tests) need, by apt, on Debian 12 or Ubuntu 24.04.
# As root it installs what is missing; otherwise it prints the one line to run and stops.
set -euo pipefail

if apt-cache show libboost1.81-dev >/dev/null 2>&1 || [ "$(. /etc/os-release && echo "$ID$VERSION_ID")" = debian12 ]; then
  boost=libboost1.81-dev
else
  boost=libboost-dev
fi
packages=(g++ cmake ninja-build ccache git ca-certificates python3 python3-pip
          libopenmpi-dev openmpi-bin "$boost" libcli11-dev libspdlog-dev libfmt-dev libssl-dev libyaml-cpp-dev)
if [ "${1:-}" = --tests ]; then
  packages+=(libgtest-dev libgmock-dev openssl iproute2 procps util-linux hostname)
fi

missing=()
for package in "${packages[@]}"; do
  case "$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null)" in
    "install ok installed") ;;
    *) missing+=("$package") ;;
  esac
done
# A pip or a compiler from elsewhere serves as well as the package.
python3 -m pip --version >/dev/null 2>&1 && missing=("${missing[@]/python3-pip/}")
missing=($(printf '%s\n' "${missing[@]:-}" | sed '/^$/d'))
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "Missing packages. Run this once, then start again:" >&2
  echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
echo "Installing: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
