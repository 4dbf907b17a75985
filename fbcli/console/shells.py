"""The completion scripts. Each asks `fb __complete`, and does only what its own shell needs: find
the words of the line, and hand the answers over. `completions/` holds copies of them."""

from __future__ import annotations

BASH = (
    r"""# Completion of fb for bash 3.2 and later.  To use it:  eval "$(fb completion bash)"
_fb() {
    # bash splits words at the characters of COMP_WORDBREAKS (: = @ …); """
    r"""put those together that no blank keeps apart.
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
    # Only what comes after the last of : and = is replaced """
    r"""(an @ is a break that stays with the word behind it).
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
"""
)

ZSH = (
    r"""#compdef fb
# Completion of fb for zsh.  To use it:  source <(fb completion zsh)
# or, faster at start-up:  fb completion zsh > ~/.zfunc/_fb  with ~/.zfunc in fpath before compinit.
_fb() {
    local line text
    local -a plain plain_shown open open_shown
    for line in "${(@f)$("${words[1]}" __complete --current="$PREFIX" """
    r""""${(@)words[2,CURRENT-1]}" 2>/dev/null)}"; do
        [[ -z $line ]] && continue
        if [[ $line == :files ]]; then
            compset -P '*[=@]'
            _files
            return
        fi
        text=${line%%$'\t'*}
        line=${line/$'\t'/  -- }
        if [[ $text == *[=:/] ]]; then
            open+=("$text")
            open_shown+=("$line")
        else
            plain+=("$text")
            plain_shown+=("$line")
        fi
    done
    (($#plain)) && compadd -l -d plain_shown -a plain
    (($#open)) && compadd -l -S '' -d open_shown -a open
    (($#plain + $#open))
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _fb "$@"
else
    compdef _fb fb
fi
"""
)

FISH = (
    r"""# Completion of fb for fish.  To use it:  """
    r"""fb completion fish > ~/.config/fish/completions/fb.fish
function __fb_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] __complete --current="$current" $words[2..-1] 2>/dev/null)
        if test "$line" = :files
            set -l start (string match -r '^.*[=@]' -- $current)
            for path in (__fish_complete_path (string replace -r '^.*[=@]' '' -- $current))
                echo "$start$path"
            end
        else
            echo $line
        end
    end
end
complete -c fb -f -k -a '(__fb_complete)'
"""
)

POWERSHELL = (
    r"""# Completion of fb for PowerShell.  To use it:  """
    r"""fb completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName fb -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $before = @($commandAst.CommandElements | """
    r"""Where-Object { $_.Extent.StartOffset -lt $cursorPosition })
    $words = @($before | Where-Object { $_.Extent.EndOffset -lt $cursorPosition } | """
    r"""ForEach-Object { "$_" })
    $current = @($before | Where-Object { $_.Extent.EndOffset -ge $cursorPosition } | """
    r"""ForEach-Object {
        "$_".Substring(0, $cursorPosition - $_.Extent.StartOffset) }) -join ''
    $rest = @($words | Select-Object -Skip 1)
    foreach ($line in @(& $words[0] __complete "--current=$current" @rest 2>$null)) {
        if ($line -eq ':files') {
            $start = if ($current -match '^.*[=@]') { $Matches[0] } else { '' }
            foreach ($file in [System.Management.Automation.CompletionCompleters]::"""
    r"""CompleteFilename($current.Substring($start.Length))) {
                [System.Management.Automation.CompletionResult]::new(
                    $start + $file.CompletionText, $file.ListItemText, """
    r"""$file.ResultType, $file.ToolTip)
            }
        } else {
            $text, $help = $line -split "`t", 2
            if (-not $help) { $help = $text }
            [System.Management.Automation.CompletionResult]::new($text, $text, """
    r"""'ParameterValue', $help)
        }
    }
}
"""
)

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH, "powershell": POWERSHELL}

FILES = {"bash": "fb.bash", "zsh": "_fb", "fish": "fb.fish", "powershell": "fb.ps1"}
"""Names of the copies in `completions/`."""
