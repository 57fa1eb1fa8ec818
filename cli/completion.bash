# Completion of vmtest's command line in bash. Verbs and options come from the program's own table, names from the store.

_vmtest() {
    local cur=${COMP_WORDS[COMP_CWORD]} word verb= usage= i
    local IFS=$'\n'

    # what follows "--" is the guest's
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        [[ $word == -- ]] && return
        [[ $word == -* || -n $verb ]] || verb=$word
    done
    if [[ -z $verb ]]; then
        COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" --verbs 2>/dev/null | cut -f 1)" -- "$cur"))
        return
    fi
    if [[ $cur == -* ]]; then
        usage=$("${COMP_WORDS[0]}" --verbs 2>/dev/null | awk -F '\t' -v verb="$verb" '$1 == verb { print $2 }')
        COMPREPLY=($(compgen -W "$(grep -o -e '--[a-z-]\+' <<<"$usage --json --machine --store --quiet --verbose --help")" -- "$cur"))
        return
    fi
    case $verb in
    list | check | version) ;;
    snapshot | snapshots | undo | start | stop | pause | resume | reset | rm | info | use | log | console | exec | set)
        COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" list 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$cur")) ;;
    revert | delete | rename | diff)
        COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" snapshots 2>/dev/null | awk 'NR > 1 { print $1 }'
            "${COMP_WORDS[0]}" list 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$cur")) ;;
    *) COMPREPLY=($(compgen -f -- "$cur")) ;;
    esac
}
complete -o filenames -F _vmtest vmtest
