#!/usr/bin/env bash
# Are the worlds any good? Plants each bug of planted/*.patch into a copy of the tree, plays worlds there until one
# fails, and demands that one does. First the tree as it is plays as many worlds, and none of them may fail. Prints a
# table; the status is 0 where every bug was found.
#
#   tests/worlds/planted.sh [BUG...]        all, or these (names without `.patch`)
#
#   PLANTED_WORLDS=1000                     how many worlds a bug may survive
#   PLANTED_TREE=skip                       leaves out the tree as it is
#
# The copy and its target directory are at one place for all bugs, so that only the library is built again for each. That
# takes longer than to find it: hence the test profile, which builds in a fraction of the time of the release profile.
# The target directory is not that of the tree: cargo would take what was built from a copy for what is in the tree.
set -uo pipefail
cd "$(dirname "$0")/../.."

work=${CARGO_TARGET_DIR:-$PWD/target}/planted
export CARGO_TARGET_DIR=$work/target
export HALOSYNC_WORLDS=${PLANTED_WORLDS:-1000} RUST_BACKTRACE=0
unset HALOSYNC_WORLD_SEED HALOSYNC_WORLDS_FROM HALOSYNC_WORLDS_KEEP HALOSYNC_WORLDS_WITH

bugs=("$@")
if [ ${#bugs[@]} = 0 ]; then
    for patch in tests/worlds/planted/*.patch; do bugs+=("$(basename "$patch" .patch)"); done
fi

tree=$work/tree
log=$work/log

# Brings the copy to the state of the tree. Times of files are kept, so that only what a bug touches is built again.
renew() {
    rm -rf "$tree" && mkdir -p "$tree"
    git ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done |
        xargs -0 cp -p --parents --target-directory="$tree"
    # What the last bug touched is new, although it bears its old time.
    find "$tree/src" -name '*.rs' -exec touch {} +
}

build() { (cd "$tree" && cargo test --quiet --test worlds --no-run) >"$log" 2>&1; }
play() { (cd "$tree" && cargo test --quiet --test worlds -- --nocapture worlds_converge) >"$log" 2>&1; }
fact() { grep -m1 -oE 'world [0-9]+: .*' "$log"; }
worlds() { grep -oE '[0-9]+ worlds, ' "$log" | tail -1 | cut -d' ' -f1; }
error() { grep -m1 -E '^error|panicked' "$log"; }
line() { printf '%-32s  %-13s  %-12s  %s\n' "$@"; }

line bug 'found by seed' 'after worlds' 'what was found'
if [ "${PLANTED_TREE:-}" != skip ]; then
    renew
    if build && play; then
        line '(none)' - "$(worlds)" 'as it should be'
    else
        line '(none)' FAILED - "$(fact || error)"
        exit 1
    fi
fi

missed=0
for bug in "${bugs[@]}"; do
    renew
    seed=- after=-
    if ! patch -d "$tree" -p1 -s <"tests/worlds/planted/$bug.patch" >"$log" 2>&1; then
        what="DOES NOT APPLY: $(head -1 "$log")"
    elif ! build; then
        what="DOES NOT BUILD: $(error)"
    elif play; then
        what='MISSED'
    elif found=$(fact); then
        seed=${found#world } seed=${seed%%:*}
        after=$(worlds)
        what=${found#world *: }
    else
        what="FAILED OTHERWISE: $(error)"
    fi
    [ "$seed" != - ] || missed=$((missed + 1))
    line "$bug" "$seed" "$after" "${what:0:110}"
done
exit $((missed > 0))
