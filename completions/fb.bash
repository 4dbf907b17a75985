# Completion of fb for bash 3.2 and later.  To use it:  eval "$(fb completion bash)"
_fb() {
    # bash splits words at the characters of COMP_WORDBREAKS (: = @ …); put those together that no blank keeps apart.
    local rest=${COMP_LINE:0:COMP_POINT} word i n=-1
    local -a words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $i == 0 || $rest == [[:space:]]* || (-z $rest && -z $word) ]]; then
            ((++n))
            words[n]=
        fi
        rest=${rest#"${rest%%[![:space:]]*}"}
        [[ $i == "$COMP_CWORD" ]] && word=$rest
        words[n]+=$word
        rest=${rest#"$word"}
    done
    local current=${words[n]} fb=${COMP_WORDS[0]} line
    type -P -- "$fb" >/dev/null || fb=fb
    # Only what comes after the last of : and = is replaced (an @ is a break that stays with the word behind it).
    local breaks=${COMP_WORDBREAKS//[^:=]/} skipped=
    [[ -n $breaks ]] && skipped=${current%"${current##*[$breaks]}"}
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            local start=${current%"${current##*[=@]}"}
            while IFS= read -r line; do
                printf -v word %q "$line"
                word=$start${word/#\\~/\~}
                if [[ -d ${line/#\~/$HOME} ]]; then
                    word+=/
                    compopt -o nospace 2>/dev/null
                fi
                COMPREPLY+=("${word#"$skipped"}")
            done < <(compgen -f -- "${current#"$start"}")
            return
        fi
        line=${line%%$'\t'*}
        [[ $line == *[=:/] ]] && compopt -o nospace 2>/dev/null
        COMPREPLY+=("${line#"$skipped"}")
    done < <("$fb" __complete --current="$current" "${words[@]:1:n-1}" 2>/dev/null)
}
complete -F _fb fb
