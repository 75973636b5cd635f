# Sourced by quickstart and check: one line per phase with the time since the start; details go to a log.
# shellcheck shell=bash

cache=${VMFERRY_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/vmferry}
logs=$cache/logs
mkdir -p "$logs"
me=${0##*/}

say() { printf '%s: [%d:%02d] %s\n' "$me" $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

# fail LOG WHAT [CODE]: the end of the log, one sentence, and out.
fail() {
  tail -n 40 "$1" >&2
  say "FAILED: $2; the whole log: $1" >&2
  exit "${3:-1}"
}

# phase NAME SENTENCE COMMAND...: says the sentence, runs the command into logs/NAME.log.
phase() {
  local name=$1 what=$2 log=$logs/$me-$1.log code=0
  shift 2
  say "$what (log: $log)"
  "$@" >"$log" 2>&1 </dev/null || code=$?
  [ "$code" -eq 0 ] || fail "$log" "$name ended with exit code $code" "$code"
}

build_preset() {
  local preset=$1
  shift
  cmake --preset "$preset" && cmake --build --preset "$preset" --parallel "$(nproc)" ${1:+--target "$@"}
}
