
if [ -z "$run" ]; then
  say "Nothing was touched. Run it with --run to $action $(files "$done"); $left would be left alone."
else
  say "$(files "$done"): $action. $left were left alone, $failed failed."
  if [ "$action" = quarantine ] && [ "$done" -gt 0 ]; then say "To bring them back: sh $quarantine/undo.sh"; fi
fi
[ "$failed" -eq 0 ]
