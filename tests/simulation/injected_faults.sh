#!/usr/bin/env bash
# Does the simulation test find bugs? Applies each patch of injected_faults/*.patch to a copy of the source tree, plays
# simulation runs there until one fails, and requires that one does. The unchanged tree is played first, the same number
# of runs, and none of them may fail. Prints a table; the exit status is 0 if every fault was found.
#
#   tests/simulation/injected_faults.sh [FAULT...]   all, or these (names without `.patch`)
#
#   FAULT_RUNS=1000                         how many simulation runs a fault may survive
#   FAULT_TREE=skip                         skips the unchanged tree
#
# All faults share one copy and one target directory, so that only the library is rebuilt for each. Building takes longer
# than finding the fault: hence the test profile, which builds in a fraction of the time of the release profile. The
# target directory is not that of the tree, because cargo would mistake what was built from the copy for the tree's own.
set -uo pipefail
cd "$(dirname "$0")/../.."

work=${CARGO_TARGET_DIR:-$PWD/target}/injected_faults
export CARGO_TARGET_DIR=$work/target
export HALOSYNC_SIMULATION_RUNS=${FAULT_RUNS:-1000} RUST_BACKTRACE=0
unset HALOSYNC_SIMULATION_SEED HALOSYNC_SIMULATION_FROM HALOSYNC_SIMULATION_KEEP HALOSYNC_SIMULATION_WITH
unset HALOSYNC_SIMULATION_TRACES

faults=("$@")
if [ ${#faults[@]} = 0 ]; then
    for patch in tests/simulation/injected_faults/*.patch; do faults+=("$(basename "$patch" .patch)"); done
fi

tree=$work/tree
log=$work/log

# Resets the copy to the state of the tree. File times are kept, so that only what a fault touches is rebuilt.
renew() {
    rm -rf "$tree" && mkdir -p "$tree"
    git ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done |
        xargs -0 cp -p --parents --target-directory="$tree"
    # What the previous fault touched must be rebuilt, although its time is old.
    find "$tree/src" -name '*.rs' -exec touch {} +
}

build() { (cd "$tree" && cargo test --quiet --test simulation --no-run) >"$log" 2>&1; }
play() { (cd "$tree" && cargo test --quiet --test simulation -- --nocapture simulation_runs_converge) >"$log" 2>&1; }
failure() { grep -m1 -oE 'seed [0-9]+: .*' "$log"; }
runs() { grep -oE '[0-9]+ simulation runs, ' "$log" | tail -1 | cut -d' ' -f1; }
error() { grep -m1 -E '^error|panicked' "$log"; }
line() { printf '%-43s  %-13s  %-10s  %s\n' "$@"; }

line fault 'found by seed' 'after runs' 'what was found'
if [ "${FAULT_TREE:-}" != skip ]; then
    renew
    if build && play; then
        line '(none)' - "$(runs)" 'passes, as it should'
    else
        line '(none)' FAILED - "$(failure || error)"
        exit 1
    fi
fi

missed=0
for fault in "${faults[@]}"; do
    renew
    seed=- after=-
    if ! patch -d "$tree" -p1 -s <"tests/simulation/injected_faults/$fault.patch" >"$log" 2>&1; then
        what="DOES NOT APPLY: $(head -1 "$log")"
    elif ! build; then
        what="DOES NOT BUILD: $(error)"
    elif play; then
        what='MISSED'
    elif found=$(failure); then
        seed=${found#seed } seed=${seed%%:*}
        after=$(runs)
        what=${found#seed *: }
    else
        what="FAILED OTHERWISE: $(error)"
    fi
    [ "$seed" != - ] || missed=$((missed + 1))
    line "$fault" "$seed" "$after" "${what:0:110}"
done
exit $((missed > 0))
