# shellcheck shell=bash
# What every script here shares; source it, do not run it.
#
# In: the environment (RAMET_CACHE, TMPDIR, CI). Out: functions.
# Promise: what was started or mounted through `at_exit` is undone in reverse order, also after an error.

set -euo pipefail
export LC_ALL=C

SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$SCRIPTS")
CACHE=${RAMET_CACHE:-$ROOT/target/demo}
MUSL=x86_64-unknown-linux-musl
export SCRIPTS ROOT CACHE MUSL

say() { printf '%s\n' "$*"; }
note() { printf '%s\n' "$*" >&2; }
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}
usage() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 3
}

# Everything that needs root goes through here, so that a person's cargo stays the person's.
root() { if [ "$EUID" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

# at_exit COMMAND ARG…: runs when the script ends, newest first. Failures there change nothing.
AT_EXIT=()
at_exit() { AT_EXIT+=("$(printf '%q ' "$@")"); }
undo() {
  local status=$? i
  trap - EXIT INT TERM HUP
  for ((i = ${#AT_EXIT[@]} - 1; i >= 0; i--)); do eval "${AT_EXIT[i]}" >/dev/null 2>&1 || true; done
  exit "$status"
}
trap undo EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# stop PID: ends a child that this script started, and waits for it.
stop() {
  kill "$1" 2>/dev/null || return 0
  for _ in {1..100}; do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.1
  done
  kill -9 "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# scratch VAR: a temporary folder on a real disk (a disk image does not fit into a RAM disk), removed at the end.
scratch() {
  local _dir # underscored: the caller's variable may have any other name
  mkdir -p "$CACHE"
  _dir=$(mktemp -d "${TMPDIR:-$CACHE}/ramet.XXXXXX")
  at_exit root rm -rf --one-file-system "$_dir"
  printf -v "$1" %s "$_dir"
}

# loop VAR FILE OFFSET SIZE [ro]: a loop device over a part of a file, detached at the end.
# Partitions are reached by offset because a kernel need not show the partitions of a loop device.
loop() {
  local _device _flags=()
  [ "${5:-}" != ro ] || _flags=(-r)
  _device=$(root losetup -f --show "${_flags[@]}" -o "$3" --sizelimit "$4" "$2")
  at_exit root losetup -d "$_device"
  printf -v "$1" %s "$_device"
}

# attach DEVICE DIR [OPTIONS]: a mount, taken away at the end.
attach() {
  mkdir -p "$2"
  root mount ${3:+-o "$3"} "$1" "$2"
  at_exit root umount "$2"
}

# part FILE NUMBER: "OFFSET SIZE" in bytes of a partition, by sfdisk (512-byte sectors).
part() {
  sfdisk --json "$1" 2>/dev/null | jq -er --arg file "$1" --argjson n "$2" \
    '.partitiontable.partitions[] | select(.node | ltrimstr($file) | ltrimstr("p") | tonumber == $n)
     | "\(.start * 512) \(.size * 512)"' || die "reading $1: there is no partition $2"
}

# now: seconds with fractions; since T: seconds passed, two digits.
now() { printf %s "$EPOCHREALTIME"; }
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }'; }
# human BYTES: for people.
human() { numfmt --to=iec-i --suffix=B --format=%.2f "${1:-0}"; }

# serve STATE [LISTEN [ARGUMENT…]]: a server, on a free port of 127.0.0.1 unless LISTEN says where, ended with the script.
# Sets SERVER_PID and what the agent reads from its environment: RAMET_SERVER, RAMET_KEY, RAMET_TOKEN. $RAMET and $AGENT
# are the binaries.
serve() {
  local log=$1.log url
  "$RAMET" serve --state "$1" --listen "${2:-127.0.0.1:0}" "${@:3}" </dev/null >"$log" 2>&1 &
  SERVER_PID=$!
  at_exit stop "$SERVER_PID"
  for _ in {1..150}; do
    url=$(sed -n 's/^listening on \(https:.*\)$/\1/p' "$log" | head -1)
    [ -z "$url" ] || break
    kill -0 "$SERVER_PID" 2>/dev/null || die "starting the server: it ended: $(tail -3 "$log")"
    sleep 0.1
  done
  [ -n "$url" ] || die "starting the server: it did not say 'listening on' within 15 s; see $log"
  RAMET_SERVER=$url
  RAMET_KEY=$("$RAMET" key --state "$1")
  RAMET_TOKEN=$("$RAMET" token add --state "$1" --scope capture,restore)
  export RAMET_SERVER RAMET_KEY RAMET_TOKEN
}

# await FILE REGEX SECONDS PID: the first line that matches; ends the script when it does not come.
await() {
  local i
  for ((i = 0; i < $3 * 5; i++)); do
    if LINE=$(grep -aoEm1 "$2.*" "$1" 2>/dev/null); then
      LINE=${LINE%$'\r'}
      return 0
    fi
    kill -0 "$4" 2>/dev/null || grep -aqE "$2" "$1" ||
      die "waiting for '$2': the process ended; see $1: $(tail -n 2 "$1" 2>/dev/null)"
    sleep 0.2
  done
  die "waiting for '$2': not seen within $3 s; see $1"
}

# word NAME LINE: the value of NAME=… in what a machine said.
word() { sed -nE "s/.* $1=([^=]*)( [a-z]+=.*|$)/\1/p" <<<"$2"; }

# build: the two binaries as they ship; sets AGENT and RAMET. RAMET_BIN names a folder with others.
build() {
  if [ -z "${RAMET_BIN:-}" ]; then
    (cd "$ROOT" && cargo build --quiet --release --locked --target "$MUSL" -p ramet-agent -p ramet-server)
    RAMET_BIN=${CARGO_TARGET_DIR:-$ROOT/target}/$MUSL/release
  fi
  AGENT=$RAMET_BIN/ramet-agent RAMET=$RAMET_BIN/ramet
  [ -x "$AGENT" ] || die "looking for the agent: there is no $AGENT"
  [ -x "$RAMET" ] || die "looking for the server: there is no $RAMET"
}

# build_boot: the agent as it ships and the builder of boot images; sets AGENT and BUILDER. The builder runs here only.
build_boot() {
  if [ -z "${RAMET_BIN:-}" ]; then
    (cd "$ROOT" && cargo build --quiet --release --locked --target "$MUSL" -p ramet-agent)
    AGENT=${CARGO_TARGET_DIR:-$ROOT/target}/$MUSL/release/ramet-agent
  else
    AGENT=$RAMET_BIN/ramet-agent
  fi
  (cd "$ROOT" && cargo build --quiet --locked -p ramet-initramfs)
  # shellcheck disable=SC2034 # used by who sources this
  BUILDER=${CARGO_TARGET_DIR:-$ROOT/target}/debug/ramet-initramfs
  [ -x "$AGENT" ] || die "looking for the agent: there is no $AGENT"
  [ -n "${SOURCE_DATE_EPOCH:-}" ] || SOURCE_DATE_EPOCH=$(git -C "$ROOT" log -1 --format=%ct 2>/dev/null) || true
  [ -z "$SOURCE_DATE_EPOCH" ] || export SOURCE_DATE_EPOCH
}

# kernel_package: the path of the package of Debian's current kernel, fetched where it is not there yet.
kernel_package() {
  local dir=$ROOT/target/kernels name file
  mkdir -p "$dir"
  newest_kernel() { apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | tail -1; }
  name=$(newest_kernel)
  file=$(find "$dir" -maxdepth 1 -name "${name:-linux-image-*}_*.deb" | sort -V | tail -1)
  if [ -z "$file" ]; then
    [ -n "$name" ] || root apt-get -qq update </dev/null >&2
    name=$(newest_kernel)
    [ -n "$name" ] || die "looking for Debian's kernel: apt knows no linux-image-amd64"
    note "fetching $name"
    (cd "$dir" && apt-get -qq download "$name" </dev/null >&2 2>/dev/null) || die "fetching $name: apt-get download failed"
    file=$(find "$dir" -maxdepth 1 -name "${name}_*.deb" | sort -V | tail -1)
  fi
  [ -f "$file" ] || die "fetching $name: there is no package in $dir"
  printf '%s\n' "$file"
}

# bytes_in FOLDER [NAME]: what its files hold, or those below folders of that name in it.
bytes_in() { find "$1" -type f -path "*${2:+/$2}/*" -printf '%s\n' | awk '{ n += $1 } END { printf "%.0f", n }'; }

# random_file FILE BYTES: incompressible and never zero by chance, as a used disk would be.
random_file() { head -c "$2" /dev/urandom >"$1"; }
