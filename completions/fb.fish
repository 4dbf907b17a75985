# Completion of fb for fish.  To use it:  fb completion fish > ~/.config/fish/completions/fb.fish
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
