# what bash offers, from the table and the store
. "$LIB"
made web
made worker
vmtest -m web -q snapshot clean
complete() {
    bash -c '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vmtest; echo "${COMPREPLY[*]}"' \
        "$(dirname "$LIB")/../../cli/completion.bash" "$@"
}
complete vmtest sn
complete vmtest snapshot --qu
complete vmtest start w
complete vmtest -m web revert c
complete vmtest exec -- l
