# Completion of fb for PowerShell.  To use it:  fb completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName fb -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $before = @($commandAst.CommandElements | Where-Object { $_.Extent.StartOffset -lt $cursorPosition })
    $words = @($before | Where-Object { $_.Extent.EndOffset -lt $cursorPosition } | ForEach-Object { "$_" })
    $current = @($before | Where-Object { $_.Extent.EndOffset -ge $cursorPosition } | ForEach-Object {
        "$_".Substring(0, $cursorPosition - $_.Extent.StartOffset) }) -join ''
    $rest = @($words | Select-Object -Skip 1)
    foreach ($line in @(& $words[0] __complete "--current=$current" @rest 2>$null)) {
        if ($line -eq ':files') {
            $start = if ($current -match '^.*[=@]') { $Matches[0] } else { '' }
            foreach ($file in [System.Management.Automation.CompletionCompleters]::CompleteFilename($current.Substring($start.Length))) {
                [System.Management.Automation.CompletionResult]::new(
                    $start + $file.CompletionText, $file.ListItemText, $file.ResultType, $file.ToolTip)
            }
        } else {
            $text, $help = $line -split "`t", 2
            if (-not $help) { $help = $text }
            [System.Management.Automation.CompletionResult]::new($text, $text, 'ParameterValue', $help)
        }
    }
}
