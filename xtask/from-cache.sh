#!/bin/sh
# Runs a command in the cache's copy of this clone: xtask/from-cache.sh COMMAND [ARGUMENT]...
#
# Cargo knows what is fresh by path and time, so every new clone would build all of our crates anew. The copy stands always at
# the same place, and a file in it is touched only when its content changes: what an earlier run built, from whichever clone, is
# used again. One run at a time has the copy; the next one waits.
#
# With CARGO_TARGET_DIR set, or outside a git work tree, the command runs where it is.
set -eu

mode() {
    if [ -x "$1" ]; then echo program; else echo file; fi
}

# `make` that is killed must not leave its work running
if [ "$(cat "/proc/$PPID/comm" 2>/dev/null)" = make ] && [ -z "${FROM_CACHE_BOUND:-}" ]; then
    export FROM_CACHE_BOUND=1
    exec setpriv --pdeathsig KILL "$0" "$@"
fi
unset FROM_CACHE_BOUND

clone=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$clone"
if [ -n "${CARGO_TARGET_DIR:-}" ] || ! git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    exec "$@"
fi
cache=${BESSEMER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bessemer}
mkdir -p "$cache/locks" "$cache/tree"
cache=$(CDPATH='' cd -- "$cache" && pwd -P)
tree=$cache/tree
if [ "$clone" = "$tree" ]; then
    exec "$@"
fi

exec 9>"$cache/locks/tree"
if ! flock --nonblock 9; then
    echo "another run of this user is at work in $tree; waiting for its end" >&2
    flock 9
fi

# what git knows of, and new files that it does not ignore
git ls-files -z --cached --others --exclude-standard | tr '\0' '\n' | LC_ALL=C sort -u >"$cache/tree.new"
# before anything is copied: what a killed run leaves behind is known to the next one
touch "$cache/tree.files"
LC_ALL=C sort -u "$cache/tree.files" "$cache/tree.new" >"$cache/tree.both"
mv -- "$cache/tree.both" "$cache/tree.files"
LC_ALL=C comm -23 "$cache/tree.files" "$cache/tree.new" | while IFS= read -r file; do
    rm -f -- "$tree/$file"
done
while IFS= read -r file; do
    if [ ! -e "$file" ]; then
        rm -f -- "$tree/$file"
    elif ! cmp -s -- "$file" "$tree/$file" || [ "$(mode "$file")" != "$(mode "$tree/$file")" ]; then
        mkdir -p -- "$(dirname -- "$tree/$file")"
        rm -f -- "$tree/$file"
        cp -- "$file" "$tree/$file"
    fi
done <"$cache/tree.new"
mv -- "$cache/tree.new" "$cache/tree.files"

cd "$tree"
# reports go into the clone, not into the copy
export BESSEMER_CLONE="$clone"
export CARGO_BUILD_BUILD_DIR="${CARGO_BUILD_BUILD_DIR:-$cache/build}"
# an xtask run by hand in a clone builds there too; cargo would take its newer output for ours
owner=$CARGO_BUILD_BUILD_DIR/owner
if [ "$(cat "$owner" 2>/dev/null)" != "$tree" ]; then
    rm -rf "$CARGO_BUILD_BUILD_DIR"/*/.fingerprint/bessemer-*
    mkdir -p "$CARGO_BUILD_BUILD_DIR"
    echo "$tree" >"$owner"
fi
# of use only to who edits one crate for hours, and larger than all the rest together
export CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"
# not exec: this shell holds the lock, and nothing that the command leaves behind may
setpriv --pdeathsig KILL "$@" 9>&-
