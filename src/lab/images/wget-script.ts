/**
 * wget for a busybox that was built without its `-T` (FEATURE_WGET_TIMEOUT), as Debian's is: that one ends with a
 * segmentation fault when it gets the option, and Kubernetes' own guides call `wget --timeout=1` and `wget -T 2`.
 * The time is that of the whole transfer, not of each wait. `busybox` is an absolute path without quotes.
 */
export function wgetScript(busybox: string): string {
  return `#!/bin/sh
seconds=
left=$#
while [ "$left" -gt 0 ]; do
  word=$1
  shift
  left=$((left - 1))
  case $word in
    --timeout=*) seconds=\${word#*=} ;;
    -T?*) seconds=\${word#-T} ;;
    -T | --timeout)
      [ "$left" -gt 0 ] || { echo "wget: option requires an argument: $word" >&2; exit 1; }
      seconds=$1
      shift
      left=$((left - 1))
      ;;
    -[OoPUY] | --header | --post-data | --post-file)
      set -- "$@" "$word"
      if [ "$left" -gt 0 ]; then
        word=$1
        shift
        left=$((left - 1))
        set -- "$@" "$word"
      fi
      ;;
    *) set -- "$@" "$word" ;;
  esac
done
[ -n "$seconds" ] || exec '${busybox}' wget "$@"
'${busybox}' timeout "$seconds" '${busybox}' wget "$@"
code=$?
# SIGTERM, which is how timeout ends it.
[ "$code" != 143 ] || { echo 'wget: download timed out' >&2; code=1; }
exit "$code"
`;
}
