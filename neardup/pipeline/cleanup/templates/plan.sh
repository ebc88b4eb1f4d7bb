#!/bin/sh
# Written by `neardup scan --plan`: @COUNT@, @BYTES@ bytes that could go (@INCLUDE@), kept: @KEEP@.
# Nothing was touched yet. `sh @NAME@` checks each file and says what it would do; `sh @NAME@ --run` does it: @ACTION@.
# Read it first, and remove what should stay: each step is one `go`, up to the line that does not end in a backslash.
# A step acts only while all its files, and those that stay for them, are what they were: size and modification time, and
# for identical files every byte.
set -u
LC_ALL=C
export LC_ALL
action=@ACTION@
stamp=@STAMP@
case $# in
  0) run= ;;
  1) run=$1 ;;
  *) run=wrong ;;
esac
case $run in
  '' | --run) ;;
  *) echo "usage: sh $0 [--run]" >&2; exit 2 ;;
esac
case $0 in */*) here=${0%/*} ;; *) here=. ;; esac
here=$(cd -- "$here" && pwd -P && echo .) || exit 1
here=${here%??}
quarantine=$here/@QUARANTINE@/$stamp
done=0
left=0
failed=0

# Size and modification time in seconds; the second form is that of BSD and macOS.
state() { stat -c '%s %Y' -- "$1" 2>/dev/null || stat -f '%z %m' -- "$1" 2>/dev/null; }
which_file() { stat -c '%d:%i' -- "$1" 2>/dev/null || stat -f '%d:%i' -- "$1" 2>/dev/null; }

files() { if [ "$1" -eq 1 ]; then echo '1 file'; else echo "$1 files"; fi; }
say() { printf '%s\n' "$*"; }
leave() { left=$((left + 1)); say "left alone, $2: $1"; return 1; }

# check SHOWN KIND KEPT KEPT_STATE FILE FILE_STATE
check() {
  [ -f "$3" ] && [ ! -L "$3" ] && [ "$(state "$3")" = "$4" ] || { leave "$1" 'the file that stays is gone or changed'; return 1; }
  [ -f "$5" ] && [ ! -L "$5" ] && [ "$(state "$5")" = "$6" ] || { leave "$1" 'it is gone or changed'; return 1; }
  [ "$(which_file "$3")" != "$(which_file "$5")" ] || { leave "$1" 'it is the very file that stays'; return 1; }
  [ "$2" != bytes ] || cmp -s -- "$3" "$5" || { leave "$1" 'it differs by now'; return 1; }
}

exists() { [ -e "$1" ] || [ -L "$1" ]; }

# A word of a shell, whatever bytes it holds.
quoted() { printf '%s\n' "$1" | sed -e "s/'/'\\\\''/g" -e "1s/^/'/" -e "\$s/\$/'/"; }

# move_into FROM TO: never over anything
move_into() {
  mkdir -p -- "${2%/*}" && ! exists "$2" && mv -- "$1" "$2"
}

quarantine() { # FILE RELATIVE
  if [ ! -f "$quarantine/undo.sh" ]; then
    mkdir -p -- "$quarantine" && cat >"$quarantine/undo.sh" <<'UNDO' || return 1
#!/bin/sh
# Brings back what was moved here, each file only where nothing stands in its place. Run it again at will.
set -u
status=0
case $0 in */*) here=${0%/*} ;; *) here=. ;; esac
here=$(cd -- "$here" && pwd -P && echo .) || exit 1
here=${here%??}
back() {
  if [ ! -e "$here/$at" ] && [ ! -L "$here/$at" ]; then return 0; fi
  if [ -e "$to" ] || [ -L "$to" ]; then printf 'something is there already: %s\n' "$to" >&2; status=1; return 0; fi
  mkdir -p -- "${to%/*}" && mv -- "$here/$at" "$to" || status=1
}
trap 'exit $status' EXIT
UNDO
  fi
  # Noted before it is moved: a note of what was not moved does nothing.
  { printf 'at='; quoted "$2"; printf 'to='; quoted "$1"; echo back; } >>"$quarantine/undo.sh" || return 1
  move_into "$1" "$quarantine/$2"
}

trash() { # FILE TOP NAME ENCODED
  if [ -n "$2" ]; then bin=${2%/}/.Trash-$(id -u); else bin=${XDG_DATA_HOME:-$HOME/.local/share}/Trash; fi
  [ ! -L "$bin" ] && mkdir -p -m 700 -- "$bin" "$bin/files" "$bin/info" || return 1
  name=$3
  n=1
  # The info file is made first and never over another: whoever makes it owns the name.
  until ! exists "$bin/files/$name" && (set -C; : >"$bin/info/$name.trashinfo") 2>/dev/null; do
    n=$((n + 1))
    name=$n.$3
    [ "$n" -lt 10000 ] || return 1
  done
  printf '[Trash Info]\nPath=%s\nDeletionDate=%s\n' "$4" "$(date +%Y-%m-%dT%H:%M:%S)" >"$bin/info/$name.trashinfo" &&
    mv -- "$1" "$bin/files/$name" || { rm -f -- "$bin/info/$name.trashinfo"; return 1; }
}

# A link or copy is made beside the file and takes its name in one step.
replace() { # KEPT FILE
  new=$2.neardup-$$
  ! exists "$new" || return 1
  if [ "$action" = hardlink ]; then
    ln -- "$1" "$new"
  else
    cp --attributes-only --preserve=all -- "$2" "$new" && cp --reflink=always -- "$1" "$new" && touch -r "$2" -- "$new"
  fi && mv -f -- "$new" "$2" || { rm -f -- "$new"; return 1; }
}

act() { # SHOWN KIND KEPT KEPT_STATE FILE FILE_STATE RELATIVE TOP NAME ENCODED
  case $action in
    quarantine) quarantine "$5" "$7" ;;
    trash) trash "$5" "$8" "$9" "${10}" ;;
    hardlink | reflink) replace "$3" "$5" ;;
    delete) rm -f -- "$5" ;;
  esac
}

# go (SHOWN KIND KEPT KEPT_STATE FILE FILE_STATE RELATIVE TOP NAME ENCODED)...: all of them, or none
go() {
  all "$@" || return 0
  each "$@"
}
all() {
  while [ $# -ge 10 ]; do
    check "$@" || return 1
    shift 10
  done
}
each() {
  while [ $# -ge 10 ]; do
    if [ -z "$run" ]; then
      say "would $action: $1"
      done=$((done + 1))
    elif act "$@"; then
      say "$action: $1"
      done=$((done + 1))
    else
      failed=$((failed + 1))
      say "could not $action: $1" >&2
      return 0
    fi
    shift 10
  done
}

