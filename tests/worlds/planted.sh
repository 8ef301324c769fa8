#!/usr/bin/env bash
# Are the worlds any good? Plants each bug of planted/*.patch into a copy of the tree, plays the worlds there, and
# demands that they fail. Prints a table; the status is 0 where every bug was found.
#
#   tests/worlds/planted.sh [BUG...]        all, or these (names without `.patch`)
#
# The copies share the target directory, so that only the library is built again for each bug.
set -uo pipefail
cd "$(dirname "$0")/../.."

here=$PWD
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/target}
work=$CARGO_TARGET_DIR/planted
unset HALOSYNC_WORLD_SEED

bugs=("$@")
if [ ${#bugs[@]} = 0 ]; then
    for patch in tests/worlds/planted/*.patch; do bugs+=("$(basename "$patch" .patch)"); done
fi

# One folder for all, and the same one next time: cargo tells packages apart by their path.
tree=$work/tree
mkdir -p "$work"
missed=0
printf '%-28s  %-9s  %s\n' bug result 'seed: what was found'
for bug in "${bugs[@]}"; do
    rm -rf "$tree" && mkdir "$tree"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp -p --parents --target-directory="$tree"
    # Times of files are kept, so that only what a bug touches is built again; what the last one touched is new.
    touch "$tree/src/lib.rs"
    if ! patch -d "$tree" -p1 -s <"$here/tests/worlds/planted/$bug.patch" >"$work/log" 2>&1; then
        result='no longer applies' found=$(head -1 "$work/log")
    elif ! (cd "$tree" && cargo test --quiet --test worlds --no-run) >"$work/log" 2>&1; then
        result='does not build' found=$(grep -m1 '^error' "$work/log")
    elif (cd "$tree" && cargo test --quiet --test worlds worlds_converge) >"$work/log" 2>&1; then
        result='MISSED' found=''
    else
        result='found' found=$(grep -m1 '^world ' "$work/log" | cut -c7-130)
        [ -n "$found" ] || result='failed otherwise'
    fi
    [ "$result" = found ] || missed=$((missed + 1))
    printf '%-28s  %-9s  %s\n' "$bug" "$result" "$found"
done
exit $((missed > 0))
